"""`python -m service` does the same as `cyclegan serve`."""

if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it would end the process during the imports

    import typer

    from service.cli import serve

    typer.run(serve)
