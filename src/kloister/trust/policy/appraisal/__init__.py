"""The appraisal policy of a relying party: which genuine evidence is acceptable. Proof is `trust/verifier`'s."""

from kloister.trust.policy.appraisal.judge import AppraisalRefused, check_appraisal, judge
from kloister.trust.policy.appraisal.model import AppraisalPolicy, TeeRule, Wish
from kloister.trust.policy.appraisal.parse import MAX_SIZE, parse_appraisal, read_appraisal
from kloister.trust.policy.appraisal.token import check_token, judge_token

__all__ = [
    "MAX_SIZE",
    "AppraisalPolicy",
    "AppraisalRefused",
    "TeeRule",
    "Wish",
    "check_appraisal",
    "check_token",
    "judge",
    "judge_token",
    "parse_appraisal",
    "read_appraisal",
]
