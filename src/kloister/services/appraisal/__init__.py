"""Evidence in, an appraisal out. Fetching and caching collateral come later; nothing is fetched here."""

from kloister.services.appraisal.inputs import parse_collateral, parse_policy, parse_root, parse_time
from kloister.services.appraisal.recognise import Evidence, Kind, recognise
from kloister.services.appraisal.service import OPERATOR_NAMED, Appraisal, appraise

__all__ = [
    "OPERATOR_NAMED",
    "Appraisal",
    "Evidence",
    "Kind",
    "appraise",
    "parse_collateral",
    "parse_policy",
    "parse_root",
    "parse_time",
    "recognise",
]
