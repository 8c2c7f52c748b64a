from __future__ import annotations

from dataclasses import replace

import pytest
from ruamel.yaml import YAML

from kloister.errors import Malformed
from kloister.formats.enclave.launch import Image, LaunchDocument, User
from kloister.formats.policy import parse_policy
from kloister.images.convert import ConvertOptions
from kloister.images.convert.policy import policy_text

LAUNCH = LaunchDocument(Image(("/bin/app", 'a "quoted": {word}', "- no list", "é\n"), (), User("root", 0, 0)), (), 1)
MEASURED, SIGNER = bytes(range(32)), bytes(32)


def test_the_text_reads_back_as_the_policy(pinned: ConvertOptions) -> None:
    text = policy_text(MEASURED, SIGNER, LAUNCH, replace(pinned, simulated=True))
    policy = parse_policy(YAML(typ="safe", pure=True).load(text))
    assert (policy.namespace, policy.name) == ("clinic", "inference")
    (alternative,) = policy.attestation.any
    assert (alternative.sgx.mrenclave, alternative.sgx.debug) == (MEASURED, False)
    assert policy.attestation.simulated
    service = policy.service("app")
    assert service is not None
    assert service.arguments == LAUNCH.image.arguments


def test_simulated_platforms_are_admitted_on_request_only(options: ConvertOptions) -> None:
    assert "simulated" not in policy_text(MEASURED, SIGNER, LAUNCH, options)


def test_arguments_that_look_like_templates_stay_the_images_own(options: ConvertOptions) -> None:
    launch = replace(LAUNCH, image=replace(LAUNCH.image, arguments=("/bin/app", "{{ secrets.db.value }}")))
    assert "arguments" not in policy_text(MEASURED, SIGNER, launch, options)


def test_a_template_is_filled_in_and_else_left_alone(options: ConvertOptions) -> None:
    template = "# mine\nmrenclave: '@MRENCLAVE@'\nmrsigner: '@MRSIGNER@'\n"
    text = policy_text(MEASURED, SIGNER, LAUNCH, replace(options, template=template))
    assert text == f"# mine\nmrenclave: '{MEASURED.hex()}'\nmrsigner: '{SIGNER.hex()}'\n"


def test_a_name_that_no_policy_may_have(options: ConvertOptions) -> None:
    with pytest.raises(Malformed) as refused:
        policy_text(MEASURED, SIGNER, LAUNCH, replace(options, policy=("clinic", "a.b")))
    assert refused.value.code == "policy-invalid"
