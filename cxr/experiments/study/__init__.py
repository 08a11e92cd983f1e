"""Studies: several recipes x several seeds as one thing that is queued, stopped, resumed and compared together.

Importing this part imports neither torch nor pandas: a study's own process waits for hours and should cost little.
"""

from cxr.experiments.study.examples import EXAMPLES
from cxr.experiments.study.members import Member, members, retry, stop_study
from cxr.experiments.study.plan import METRICS, Plan, load_plan, parse_plan
from cxr.experiments.study.start import check, start_study

__all__ = [
    "EXAMPLES",
    "METRICS",
    "Member",
    "Plan",
    "check",
    "load_plan",
    "members",
    "parse_plan",
    "retry",
    "start_study",
    "stop_study",
]
