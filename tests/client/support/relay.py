"""What stands between a client and the daemon, and passes on what it is told to."""

import contextlib
import socket
import struct
import threading

# Closed so, a connection is reset: the peer is told that something is wrong.
_RESET = struct.pack("ii", 1, 0)


class Relay:
    """Listens on a port of its own and passes everything on to another one, unless it is silent."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._passing = threading.Event()
        self._passing.set()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """What a client is given as its base URL."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def is_used(self) -> bool:
        """Whether anybody's way leads through here."""
        return bool(self._open)

    def reset(self) -> None:
        """Resets every connection that there is. New ones work."""
        connections, self._open = self._open, []
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                # Whoever reads from it holds it open otherwise.
                connection.shutdown(socket.SHUT_RD)
            connection.close()

    def be_silent(self) -> None:
        """Passes nothing on, and says nothing."""
        self._passing.clear()

    def heal(self) -> None:
        """Passes on what has waited, and all that comes."""
        self._passing.set()

    def close(self) -> None:
        """Ends it."""
        self.heal()
        self._listener.close()
        self.reset()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    daemon = socket.create_connection(("127.0.0.1", self._to), timeout=10)
                except OSError:
                    client.close()
                    continue
                daemon.settimeout(None)
                self._open += [client, daemon]
                for source, sink in ((client, daemon), (daemon, client)):
                    threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                self._passing.wait()
                sink.sendall(piece)
        # One side's end is the other's, also where it was no orderly one.
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
