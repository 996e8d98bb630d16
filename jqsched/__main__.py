"""`python -m jqsched` is `jqsched`."""

import sys

from jqsched.cli.main import main

sys.exit(main())
