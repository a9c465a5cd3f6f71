"""`python -m service` is `cyclegan serve`."""

if __name__ == "__main__":  # what codecs need not import
    import signal

    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it would end the process while it loads

    import typer

    from service.cli import serve

    typer.run(serve)
