"""A way to a server whose connections are cut."""

import asyncio
import random


class Cutting:
    """A way to a server whose connections are cut after some bytes."""

    def __init__(self, host: str, port: int, seed: int) -> None:
        self._address = host, port
        self._random = random.Random(seed)
        self._pumps: set[asyncio.Task[None]] = set()
        self.cuts = 0

    async def open(self) -> int:
        """Begin to listen. The port."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """End all connections."""
        self._server.close()
        for pump in [*self._pumps]:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs_in, theirs_out = await asyncio.open_connection(*self._address)
        left = [self._random.choice((300, 3_000, 50_000, 1_000_000))]
        pumps = [self._pump(reader, theirs_out, left), self._pump(theirs_in, writer, left)]
        tasks = [asyncio.create_task(pump) for pump in pumps]
        self._pumps.update(tasks)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._pumps.difference_update(tasks)
            for end in (writer, theirs_out):
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: list[int]) -> None:
        while piece := await reader.read(16_384):
            left[0] -= len(piece)
            if left[0] < 0:
                self.cuts += 1
                writer.write(piece[: left[0]])
                await writer.drain()
                return
            writer.write(piece)
            await writer.drain()
