"""The reason codes of images: reading, importing, converting, packing, the runtime layer and the samples."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kloister.errors import BUG, Reason

_FETCH = "The copy is damaged or incomplete: fetch or save the image again."
_HOSTILE = "The image is faulty or meant to harm: do not use it. If it is yours, build it again."
_NAME = "Write oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE, or a local name."
_PYTHON = "Install Kloister and its dependencies anew, with the distribution's Python."
_HELP = "See the command's --help."

REASONS: Mapping[str, Reason] = MappingProxyType({
    # a converted image measured again
    "image-changed": Reason(
        "A converted image no longer holds what its enclave measures.", "Convert it again; somebody changed it since."
    ),
    # names of images and their places
    "reference-transport": Reason("This is not an image on this machine.", _NAME),
    "reference-path": Reason("The reference names no file or directory.", _NAME),
    "reference-tag": Reason("The tag is not written as tags are.", _NAME),
    "layout-missing": Reason("There is no OCI layout at this place.", "`skopeo copy ... oci:DIR:TAG` writes one."),
    "archive-missing": Reason("The archive is no `docker save` archive.", "Name a file that it wrote."),
    "image-missing": Reason("There is nothing at this place, or it is of another kind.", _NAME),
    "image-tag": Reason("The place holds several images or none of this tag.", "Name one of the tags that are listed."),
    "image-kind": Reason("This is an artefact of another kind than a container image.", "Name a container image."),
    "image-platform": Reason("The image is for another platform.", "Fetch the image for linux/amd64."),
    "destination-transport": Reason("This kind of place can only be read.", "Write oci: or oci-archive:."),
    "destination-occupied": Reason("Something else is where the image would be written.", "Choose another place."),
    "destination-unwritable": Reason("The place cannot be written to.", "Choose another, or mend its permissions."),
    "disk-full": Reason("The disk is full.", "Free some space and try again; nothing half-written stays."),
    # archives, blobs and layers
    "archive-compressed": Reason("The archive is compressed as a whole.", "Decompress it first."),
    "archive-members": Reason("The archive has more members than are read.", "Save one image only."),
    "archive-truncated": Reason("The archive is cut off.", _FETCH),
    "archive-field": Reason("The archive's manifest.json is not a list of images.", _FETCH),
    "blob-missing": Reason("A blob that the image names is missing.", _FETCH),
    "blob-digest": Reason("A blob has another SHA-256 than its name.", _FETCH),
    "index-nesting": Reason("Image indexes are nested deeper than is read.", _FETCH),
    "config-layers": Reason("The configuration lists other layers than the manifest.", _FETCH),
    "layer-media-type": Reason("A layer is of a type that is not read.", "Name a container image."),
    "layer-zstd": Reason("A layer is compressed with Zstandard: not read yet.", "Copy the image with gzip layers."),
    "layer-encrypted": Reason("A layer is encrypted already.", "Name the original image."),
    "layer-gzip": Reason("A layer is not the gzip data it is said to be, or is cut off.", _FETCH),
    "layer-bomb": Reason("A layer unpacks to more than is allowed.", "If it is yours, make smaller images of it."),
    "layer-path-empty": Reason("A layer has an entry without a name.", _HOSTILE),
    "layer-path-absolute": Reason("A layer has an entry with an absolute name.", _HOSTILE),
    "layer-path-escape": Reason("A layer has an entry that points out of the image's root.", _HOSTILE),
    "layer-path-long": Reason("A layer has an entry with a longer name than files may have.", _HOSTILE),
    "layer-link": Reason("A layer has a symbolic link with an impossible target.", _HOSTILE),
    "layer-link-missing": Reason("A hard link or path of a layer leads to nothing.", _FETCH),
    "layer-parent": Reason("A layer has an entry below something that is a file.", _HOSTILE),
    "layer-root": Reason("A layer replaces the root by something that is no directory.", _HOSTILE),
    "layer-symlink-escape": Reason("A layer has an entry behind a link that leads out of the root.", _HOSTILE),
    "layer-symlink-loop": Reason("A layer has an entry behind a loop of links.", _HOSTILE),
    "layer-whiteout": Reason("A whiteout of a layer removes nothing that could exist.", _HOSTILE),
    "image-file-size": Reason("A file of the image is larger than is read.", "Keep such files outside of the image."),
    "image-spool": Reason("The temporary copy of the image's files was cut off.", "Free some space, and try again."),
    "entry-skipped": Reason("A device, pipe or socket was left out.", "Nothing: the sandbox has devices of its own."),
    "attributes-dropped": Reason("Extended attributes of a file were left out.", "Nothing, unless it needs them."),
    # import
    "import-missing": Reason("What is to be imported does not exist.", "Name a directory or a tar archive."),
    "import-unreadable": Reason("Something cannot be read.", "Check its permissions, or use --exclude."),
    "import-changed": Reason("A file changed while it was read.", "Import a directory that nobody writes to."),
    "import-option": Reason("An option has a value that it cannot have.", "See `kloister image import --help`."),
    # convert
    "convert-twice": Reason("The image was converted before.", "Name the original image."),
    "convert-size": Reason("A size is not written as sizes are.", "Write it like 512M or 2G."),
    "convert-mount": Reason("A mount is not NAME=/path, is named twice, or cannot be at its place.", _HELP),
    "convert-writable": Reason(
        "The place cannot be writable.", "Name an absolute path of a directory that is not the enclave's own."
    ),
    "convert-memory": Reason("The image's files need more than --memory allows.", "Raise --memory."),
    "image-arguments": Reason(
        "The image has neither an entrypoint nor a command.", "Set one: `kloister image import --entrypoint`."
    ),
    "image-signal": Reason("The image's stop signal is none of Linux.", "Mend the image's configuration."),
    "image-user": Reason("The image runs as a user or group that it does not have.", "Mend /etc/passwd, or its user."),
    "source-date-epoch": Reason("SOURCE_DATE_EPOCH is not a number of seconds since 1970.", "Unset it, or mend it."),
    "policy-name": Reason("A policy is named NAMESPACE/NAME.", "Use a-z, 0-9 and inner hyphens in both parts."),
    "policy-template": Reason(
        "The policy template cannot be read, or names no measurement.", 'Write mrenclave: "@MRENCLAVE@" in it.'
    ),
    "encrypt-without-broker": Reason(
        "Something is to be encrypted, but no broker is pinned that could release its key.",
        "Give --policy NAMESPACE/NAME, and --broker-ca FILE where the stack is not on this machine.",
    ),
    "encrypt-base": Reason("The image was not built from this base image.", "Name it, or a number of layers."),
    "encrypt-layer": Reason("No layer, or several, are meant.", "See the layers with `kloister image inspect`."),
    "encrypt-file": Reason("No file of the image matches the pattern.", "See `kloister image inspect --files`."),
    "encrypt-nothing": Reason("The layers to encrypt hold no file of the finished image.", "Choose other layers."),
    "encrypt-overlap": Reason(
        "Something public needs what would be encrypted.", "Encrypt what it belongs to as well, or fewer files."
    ),
    "keys-fields": Reason("This is no keys file of `kloister convert`.", "Name the .keys.json that it wrote."),
    "signing-key-missing": Reason("The signing key does not exist.", "Add --make-key, or name another file."),
    "signing-key-exists": Reason("The file exists already.", "Use it with --key, or name another file."),
    "signing-key-format": Reason("The file is no private key in PEM without passphrase.", "Name another."),
    "signing-key-permissions": Reason("Others may read the signing key.", "chmod 600 the file."),
    "key-cache-locked": Reason(
        "The key cache is damaged, or was made with another signing key.",
        "Use the same --key as before, or another --key-cache; new secrets are drawn then.",
    ),
    "key-cache-permissions": Reason("Others may read the key cache.", "chmod 600 the file."),
    # the pack
    "image-not-converted": Reason("The image is not converted.", "Convert it first: `kloister convert SRC DST`."),
    "pack-incomplete": Reason("The cached pack lacks a file.", "Remove it: it is made again from the image."),
    "pack-occupied": Reason("Something else is where the pack would be.", "Remove it."),
    # the runtime layer
    "runtime-interpreter": Reason("The running Python is linked statically.", _PYTHON),
    "runtime-loader": Reason("The dynamic loader of this machine does not start at address 0.", _PYTHON),
    "runtime-library-missing": Reason("A library that the interpreter needs is missing.", "Install its package."),
    "runtime-import": Reason("The launcher cannot be imported in a clean interpreter.", _PYTHON),
    "runtime-source": Reason("A module of the launcher has no source.", _PYTHON),
    "runtime-too-large": Reason("The runtime layer is larger than its limit of 15 MB.", _PYTHON),
    "runtime-cache": Reason("The cached runtime layer is damaged.", "Remove it from the cache; it is made again."),
    "elf-truncated": Reason("A program's ELF structures reach outside of its file.", "Reinstall its package."),
    # samples
    "sample-unknown": Reason("There is no sample of this name.", "The samples are clinic and redis."),
    "sample-application": Reason("The example application is not here.", "Run this in a checkout of the sources."),
    "sample-library": Reason("A library that the sample needs is not on this machine.", "Install its package."),
    "sample-redis": Reason("redis-server is not installed, and cannot be unpacked here.", "Install redis-server."),
    "sample-fetch": Reason("redis-server's package cannot be fetched.", "Install redis-server, or try again."),
    "tar-content": Reason("A file had another size than its tar header says.", BUG),
})  # fmt: skip
