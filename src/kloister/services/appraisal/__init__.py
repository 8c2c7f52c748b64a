"""Evidence in, an appraisal out. What vouches for evidence is given; `services/collateral` fetches it."""

from kloister.services.appraisal.inputs import parse_collateral, parse_policy, parse_root, parse_time
from kloister.services.appraisal.recognise import Evidence, Kind, recognise
from kloister.services.appraisal.result import Appraisal
from kloister.services.appraisal.service import OPERATOR_NAMED, appraise
from kloister.services.appraisal.tokens import TokenKeys

__all__ = [
    "OPERATOR_NAMED",
    "Appraisal",
    "Evidence",
    "Kind",
    "TokenKeys",
    "appraise",
    "parse_collateral",
    "parse_policy",
    "parse_root",
    "parse_time",
    "recognise",
]
