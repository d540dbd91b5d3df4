"""The lifespan of the ASGI applications that tests have served."""


async def live(executor, receive, send):
    """Keep the executor open from the server's start to its shutdown."""
    async with executor:
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
