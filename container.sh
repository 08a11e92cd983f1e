#!/bin/sh
# What the container runs: demo data on the first start, then the dashboard. `docker stop` ends the dashboard and has
# every run save first: runs are processes of their own, which nobody else would tell.
set -eu

# Whatever waits here is a child in the background: a shell answers signals only between its commands.
await() {
    "$@" &
    child=$!
    wait "$child"
}

end() {
    trap '' TERM INT
    if [ $$ -eq 1 ]; then # of a container: every other process is one of ours
        kill -TERM -1 2>/dev/null || true
        while kill -0 -1 2>/dev/null; do sleep 0.1; done
    else
        kill -TERM "$child" 2>/dev/null || true
        wait "$child" || true
    fi
    exit 0
}
trap end TERM INT

# The synthetic X-rays are made once, so that every page has something to show.
[ -f "$CXR_DATA/demo/manifest.csv" ] || await cxr demo || echo "no demo data could be made; the dashboard starts without" >&2
await streamlit run dashboard/Home.py --server.address=0.0.0.0 --server.port=8501
