"""``python -m convnd`` is the ``convnd`` command."""

from .cli import main

if __name__ == "__main__":
    main()
