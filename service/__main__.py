"""`python -m service` is `cyclegan serve`."""

if __name__ == "__main__":  # what codecs need not import
    import typer

    from service.cli import serve

    typer.run(serve)
