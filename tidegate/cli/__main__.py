"""`python -m tidegate.cli`."""

from tidegate.cli import main

raise SystemExit(main())
