"""Sample images made from what is on this machine, without a registry: for the demonstration and the tests."""

from kloister.images.samples.clinic import assemble_clinic
from kloister.images.samples.making import SAMPLES, make_sample
from kloister.images.samples.redis import assemble_redis

__all__ = ["SAMPLES", "assemble_clinic", "assemble_redis", "make_sample"]
