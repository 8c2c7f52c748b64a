"""`kloister convert`: one image in, one confidential image and the policy to approve out."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kloister.cli.console import JsonFlag, guarded, print_json, say
from kloister.cli.options import StateOption
from kloister.cli.streams import is_watched
from kloister.cli.words import options
from kloister.errors import Misconfigured

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from kloister.formats.enclave.launch import Broker
    from kloister.images.convert import Conversion, ConvertOptions, Sidecars
    from kloister.images.sources import SourceImage
    from kloister.serve.state import State

Texts = list[str] | None

_TRANSPORTS = ("oci", "oci-archive", "docker-archive")
_LOCAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?")


_Source = Annotated[
    str, typer.Argument(help="oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE or a local name.", metavar="SRC")
]
_Destination = Annotated[
    str, typer.Argument(help="oci:DIR[:TAG], oci-archive:FILE[:TAG] or a name for the local store.", metavar="DST")
]
_BrokerCa = Annotated[
    Path | None, typer.Option(help="Certificate of the broker's CA [default: the stack's, if --policy is given].")
]
_Policy = Annotated[str, typer.Option(help="NAMESPACE/NAME of the policy that gives the secrets.")]
_Service = Annotated[str, typer.Option(help="The policy's service that this image is.")]
_PolicyTemplate = Annotated[
    Path | None, typer.Option(help="A policy of yours with @MRENCLAVE@ where the measurement belongs.")
]
_Writable = Annotated[Texts, typer.Option(help="A directory that the program may write to (tmpfs); repeat.")]
_Mount = Annotated[Texts, typer.Option(help="NAME=/path: a place the host may bind a directory to; repeat.")]
_Encrypt = Annotated[Texts, typer.Option(help="app, all, none, or a layer (number or digest); repeat.")]
_EncryptFile = Annotated[Texts, typer.Option(help="A pattern of paths that become private; repeat.")]
_PrivateLinks = Annotated[bool, typer.Option("--private-links", help="Links lead to what is private, as pods need it.")]
_Base = Annotated[str, typer.Option(help="The base image, or its number of layers: what `app` does not mean.")]
_Key = Annotated[
    Path | None, typer.Option(help="RSA-3072 key that signs [default: STATE/keys/signing.pem, made when missing].")
]
_KeyCache = Annotated[Path | None, typer.Option(help="Sealed cache of layer keys [default: STATE/cache/layers].")]
_Memory = Annotated[str, typer.Option(help="Private memory that files may take, like 512M.")]
_EnclaveSize = Annotated[str, typer.Option(help="Address range of the enclave, a power of two.")]
_MaxThreads = Annotated[int, typer.Option(min=1, max=4096, help="Threads of the enclave.")]
_Isvprodid = Annotated[int, typer.Option(min=0, max=65535, help="Product number in SIGSTRUCT.")]
_Isvsvn = Annotated[int, typer.Option(min=0, max=65535, help="Security version in SIGSTRUCT.")]
_MakeKey = Annotated[bool, typer.Option("--make-key", help="Make the file of --key if it is missing.")]
_Debug = Annotated[bool, typer.Option("--debug", help="A debug enclave: it can be read from outside.")]
_Simulated = Annotated[
    bool, typer.Option("--simulated", help="The policy admits simulated platforms, which keep nothing secret.")
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Predict MRENCLAVE, write nothing.")]


@guarded
def convert(
    source: _Source,
    destination: _Destination,
    *,
    state: StateOption = None,
    broker_ca: _BrokerCa = None,
    policy: _Policy = "",
    service: _Service = "app",
    policy_template: _PolicyTemplate = None,
    writable: _Writable = None,
    mount: _Mount = None,
    encrypt: _Encrypt = None,
    encrypt_file: _EncryptFile = None,
    private_links: _PrivateLinks = False,
    base: _Base = "",
    key: _Key = None,
    key_cache: _KeyCache = None,
    memory: _Memory = "",
    enclave_size: _EnclaveSize = "256M",
    max_threads: _MaxThreads = 4,
    isvprodid: _Isvprodid = 0,
    isvsvn: _Isvsvn = 0,
    make_key: _MakeKey = False,
    debug: _Debug = False,
    simulated: _Simulated = False,
    dry_run: _DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Make an image confidential: measure, pin the broker, sign, encrypt what is private, emit its policy.

    With SOURCE_DATE_EPOCH set, the same image gives the same bytes on every day and from every folder.

    Examples:  kloister convert oci:./redis redis;  kloister convert docker-archive:app.tar oci:./app --policy shop/app
    """
    from kloister import clock
    from kloister.images.convert import ConvertOptions
    from kloister.images.convert.inputs import parse_mounts, parse_size, read_template, signing_date
    from kloister.images.sources import open_source
    from kloister.serve.launch import reference

    with options():
        name = _policy_name(policy, destination)
        places, size = parse_mounts(mount or []), parse_size(memory) if memory else None
    place = _state(state, dry_run=dry_run)
    with open_source(reference(place, source)) as image:
        chosen = ConvertOptions(
            date=signing_date(os.environ.get("SOURCE_DATE_EPOCH", ""), clock.now()),
            policy=name,
            broker=_broker(place, broker_ca, policy, service),
            writable=tuple(writable or ()),
            mounts=places,
            memory=size,
            enclave_size=enclave_size,
            max_threads=max_threads,
            isvprodid=isvprodid,
            isvsvn=isvsvn,
            debug=debug,
            simulated=simulated,
            encrypt=tuple(word for word in encrypt or () if word != "none"),
            encrypt_files=tuple(encrypt_file or ()),
            private_links=private_links,
            base=_base(base, image, place),
            template=read_template(policy_template) if policy_template else None,
        )
        signing = _signing_key(key, place, make=make_key, dry_run=dry_run)
        cache = key_cache or place.root / "cache" / "layers"
        _run(image, destination, place, signing, chosen, cache, dry_run=dry_run, as_json=as_json)


def _run(
    image: SourceImage,
    destination: str,
    place: State,
    signing: RSAPrivateKey | None,
    options: ConvertOptions,
    cache: Path,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    from kloister.images.convert import convert as convert_image
    from kloister.images.convert import predict
    from kloister.images.encrypt import KeyCache
    from kloister.images.runtime_layer import runtime_layer

    keys = KeyCache(cache, signing) if signing else None
    target, sidecars = _destination(place, destination)
    written: tuple[Path, ...] = ()
    with _progress(image, quiet=as_json) as progress:
        progress("runtime", 0, 0)
        runtime = runtime_layer()
        if dry_run or signing is None:
            conversion = predict(image, runtime, signing, options, keys, progress)
        else:
            conversion = convert_image(image, target, runtime, signing, options, keys, progress)
            written = sidecars.write(conversion, options.policy)
    _print(conversion, target, written, as_json=as_json)


def _state(given: Path | None, *, dry_run: bool) -> State:
    """The state directory; a dry run does not make it."""
    from kloister.serve.state import State

    if not dry_run:
        return State.at(given)
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return State((given or Path(home) / "kloister").absolute())


def _policy_name(policy: str, destination: str) -> tuple[str, str]:
    """`--policy`, else `default/` and a name made from the destination's."""
    from kloister.images.convert.inputs import parse_policy_name

    if policy:
        return parse_policy_name(policy)
    words = [word for word in destination.split(":") if word]
    last = Path(words[1] if len(words) > 1 and words[0] in _TRANSPORTS else words[-1]).name
    name = re.sub(r"[^a-z0-9-]+", "-", last.lower().removesuffix(".tar")).strip("-")[:63]
    return "default", name or "image"


def _broker(place: State, ca: Path | None, policy: str, service: str) -> Broker | None:
    from kloister.formats.enclave.launch import Broker
    from kloister.images.convert.inputs import parse_policy_name, read_ca

    if ca is None and policy and place.ca.exists():
        ca = place.ca
        say(f"kloister: pinning the broker of this machine's stack ({ca}).")
    if ca is None:
        return None
    if not policy:
        raise Misconfigured(
            "policy-name", "A broker is pinned, but no policy.", "Give --policy NAMESPACE/NAME as well."
        )
    return Broker(read_ca(ca), *parse_policy_name(policy), service)


def _base(base: str, image: SourceImage, place: State) -> int | None:
    from kloister.images.convert.inputs import base_layers
    from kloister.images.sources import open_source
    from kloister.serve.launch import reference

    if not base:
        return None
    if base.isascii() and base.isdigit():
        return int(base)
    with open_source(reference(place, base)) as found:
        return base_layers(image, found)


def _signing_key(key: Path | None, place: State, *, make: bool, dry_run: bool) -> RSAPrivateKey | None:
    """The user's key; the one of the state directory is made when it is missing, another one only on request."""
    from kloister.images.convert import load_signing_key, make_signing_key

    path = key or place.keys / "signing.pem"
    if path.exists() or (key is not None and not make):
        return load_signing_key(path)
    if dry_run:
        return None
    made = make_signing_key(path)
    say(f"kloister: made the signing key {path}; keep it, MRSIGNER is its hash.")
    return made


def _destination(place: State, destination: str) -> tuple[str, Sidecars]:
    """Where the image goes, and its policy; a bare name is a tag of the local store."""
    from kloister.images.convert import Sidecars

    if destination.split(":", maxsplit=1)[0] in _TRANSPORTS:
        return destination, Sidecars.beside(destination)
    if not _LOCAL.fullmatch(destination):
        hint = "Write oci:DIR[:TAG], oci-archive:FILE[:TAG], or a name of letters, digits, '.', '_' and '-'."
        raise Misconfigured("destination-name", f"{destination!r} is no place for an image.", hint)
    return f"oci:{place.images}:{destination}", Sidecars.named(place.policies, destination.replace(":", "."))


@contextmanager
def _progress(image: SourceImage, *, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    if quiet or not is_watched():
        yield lambda _phase, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    stored = sum(layer.size for layer in image.layers)
    columns = (TextColumn("{task.description:8}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("convert", total=stored)

        def show(phase: str, done: int, total: int) -> None:
            bar.update(task, description=phase, completed=done, total=total or max(stored, done))

        yield show


def _print(conversion: Conversion, target: str, written: tuple[Path, ...], *, as_json: bool) -> None:
    if as_json:
        files = [str(path) for path in written]
        print_json({"reference": target, "dryRun": not written, **conversion.as_json(), "written": files})
        return
    for note in conversion.notes:
        say(f"note: {note}")
    print(f"{target} {'is' if written else 'would be'} {conversion.digest}")
    print(f"{'MRENCLAVE':12} {conversion.mrenclave.hex()}")
    if conversion.mrsigner:
        print(f"{'MRSIGNER':12} {conversion.mrsigner.hex()}")
    for label, path in zip(("policy", "keys"), written, strict=False):
        print(f"{label:12} {path}")
    if conversion.secrets and written:
        say(f"Hand the keys over: kloister policy apply {written[0]} --keys {written[-1]}")
