"""``python -m cellclf`` is ``cellclf``."""

from cellclf.cli import main

if __name__ == "__main__":
    main(prog_name="cellclf")
