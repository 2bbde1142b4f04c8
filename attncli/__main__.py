"""`python -m attncli` is `attn`."""

from attncli.cli.main import main

if __name__ == "__main__":
    main()
