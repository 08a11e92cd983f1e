"""The worker under the name that jobs have which an older version left waiting in Slurm's queue."""

from cxr.runs.worker import main

if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1]))
