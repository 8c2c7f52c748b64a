from __future__ import annotations

import sys

from deploy.images.build import main
from kloister.errors import KloisterError

try:
    sys.exit(main())
except KloisterError as error:
    sys.exit(f"kloister: {error}")
