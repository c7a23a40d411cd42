"""`python -m convc` is `convc`."""

from convc.cli import main

if __name__ == "__main__":
    main(prog_name="convc")
