"""Sending files: `http.response.pathsend` and `http.response.zerocopysend` (the ASGI extensions document).

A small file is read whole and goes the way of every other body. The bytes of a larger one go to the socket inside the
kernel (sendfile) where the connection is plain TCP, and through a buffer elsewhere. A disk can be slow, so files are
touched only in the threads of the loop's pool; a thread cannot be cancelled, so descriptors are closed once it is done.

It knows how bytes get from a file to a transport. The framing is the responder's, the states are the cycle's.
"""

import errno
import os
import socket
from asyncio import shield
from stat import S_ISDIR, S_ISREG
from typing import Any, Optional

from .._consts import HAS_SENDFILE, SENDING_FILE
from ..errors import AppError, ClientDisconnected
from .flow import Step
from .output import Drained, Output
from .response import ResponseWriter

PATHSEND = "http.response.pathsend"
ZEROCOPYSEND = "http.response.zerocopysend"

#: Bytes of a file, or less, that are read whole.
WHOLE_SIZE = 64 * 1024
#: Bytes that are read at a time.
BLOCK_SIZE = 256 * 1024
#: Bytes that are sent before a thread is given back.
TURN_SIZE = 8 * 1024 * 1024

# O_NONBLOCK: opening a named pipe would wait for a writer.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
# What sendfile() says where the file or the socket is not of the kind that it takes.
_UNSUITABLE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


class FilePart:
    """A file, or a part of one, that is to be sent. close() has to come last.

    Args:
        path: the file to open; None when `fd` is one that is open. The caller keeps `fd`.
        fd: a file descriptor, or -1.
        offset: where the part begins, in bytes.
        count: bytes in it at most; -1 for all up to the file's end.

    Attributes:
        size: bytes in the part, once open() was called.
        left: bytes of it that were not sent.
        block: bytes that are read at a time.
        turn: bytes that are sent before a thread is given back.
        content: all of them, where they are few.
    """

    __slots__ = ("size", "left", "block", "turn", "content", "_path", "_fd", "_socket_fd", "_offset", "_job")

    def __init__(self, path: Any, fd: int, offset: int, count: int) -> None:
        self.size: int = count
        self.left: int = 0
        self.block: int = BLOCK_SIZE
        self.turn: int = TURN_SIZE
        self.content: Optional[bytes] = None
        self._path: Any = path
        self._fd: int = -1 if fd < 0 else os.dup(fd)  # so that it stays ours whatever the application does
        self._socket_fd: int = -1
        self._offset: int = offset
        self._job: Any = None

    async def work(self, loop: Any, function: Any) -> Any:
        """Return what `function`, a method for a thread, returns there. Cancelling this leaves the thread to it."""
        self._job = loop.run_in_executor(None, function)
        return await shield(self._job)

    def attach_socket(self, fd: int) -> int:
        """Take a copy of the socket `fd`, so that it is still this socket when a thread writes to it; return that."""
        self._socket_fd = os.dup(fd)
        return self._socket_fd

    def close(self) -> None:
        """Close what was opened, now or when the thread is done with it."""
        if self._job is not None and not self._job.done():
            self._job.add_done_callback(self._close_after)
        else:
            self._close()

    def _close_after(self, job: Any) -> None:
        self._close()

    def _close(self) -> None:
        for fd in (self._fd, self._socket_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._socket_fd = -1

    # -- in a thread

    def open(self) -> None:
        """Open the file, find out the size, and read it whole if that is small.

        Raises:
            OSError: the file cannot be opened or read, or is no regular file.
        """
        if self._fd < 0:
            self._fd = os.open(self._path, _OPEN_FLAGS)
        status = os.fstat(self._fd)
        if S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self._path)
        if not S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", self._path)
        size = max(status.st_size - self._offset, 0)
        if self.size < 0 or self.size > size:
            self.size = size
        self.left = self.size
        if self.size <= WHOLE_SIZE:
            blocks = []
            while self.left:
                blocks.append(self.read())
            self.content = b"".join(blocks)

    def read(self) -> bytes:
        """Return the next bytes.

        Raises:
            AppError: the file has become shorter.
        """
        data = _read_at(self._fd, min(self.left, self.block), self._offset)
        self._advance(len(data))
        return data

    def send(self) -> bool:
        """Send to the socket for a while; return whether that takes no more for now.

        Raises:
            AppError: the file has become shorter.
            OSError: the socket is closed, or cannot be sent to in this way.
        """
        end = max(self.left - self.turn, 0)
        while self.left > end:
            try:
                self._advance(os.sendfile(self._socket_fd, self._fd, self._offset, self.left - end))
            except BlockingIOError:
                return True
        return False

    def _advance(self, size: int) -> None:
        if size == 0:
            raise AppError("the file became shorter while it was sent")
        self._offset += size
        self.left -= size


def _read_at(fd: int, size: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(fd, size, offset)
    os.lseek(fd, offset, os.SEEK_SET)  # Windows
    return os.read(fd, size)


class FileTransfer:
    """Brings a part of a file to a transport.

    Args:
        response: counts what is sent.
        is_plain: whether what is written to the socket is what the client reads.
    """

    __slots__ = ("_loop", "_transport", "_output", "_response", "_is_plain", "_throttle")

    def __init__(self, loop: Any, transport: Any, output: Output, response: ResponseWriter, is_plain: bool) -> None:
        self._loop = loop
        self._transport = transport
        self._output: Output = output
        self._response: ResponseWriter = response
        self._is_plain: bool = is_plain
        self._throttle: Any = transport.get_extra_info("throttle")

    async def run(self, part: FilePart) -> None:
        """Send what is left of `part`.

        Raises:
            ClientDisconnected: the client has left.
            AppError: the file became shorter.
            OSError: it cannot be read.
        """
        if self._throttle is not None:
            part.block = min(self._throttle.rate, BLOCK_SIZE)  # what leaves slowly is not read far ahead
        if self._is_plain and HAS_SENDFILE:
            await self._send(part)
        while part.left:
            self._check()
            data = await part.work(self._loop, part.read)
            self._output.write(data)
            self._response.body_sent += len(data)
            if not self._output.is_writable():
                await Drained(self._output)

    def _check(self) -> None:
        if self._output.is_closing or self._transport.is_closing():
            raise ClientDisconnected("the client has left")

    async def _send(self, part: FilePart) -> None:
        """Send by sendfile(), as far as that goes: not at all where the socket is not of TCP."""
        sock = self._transport.get_extra_info("socket")
        if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
            return
        self._check()
        fd = part.attach_socket(sock.fileno())
        # With no room at all, the transport says so when it has handed over everything.
        self._transport.set_write_buffer_limits(0)
        try:
            while part.left:
                await Drained(self._output)
                self._check()
                self._output.flush()
                if self._transport.get_write_buffer_size():
                    return  # it does not hand over everything: nothing must overtake the rest
                if self._throttle is not None:
                    part.turn = self._throttle.take(min(part.left, TURN_SIZE))
                    if not part.turn:
                        continue  # the output is paused until there is more
                if await self._send_turn(part):
                    await self._wait_for_room(fd)
        except (ConnectionError, TimeoutError) as error:
            raise ClientDisconnected("the client has left") from error
        except OSError as error:
            if error.errno == errno.ENOTCONN:
                raise ClientDisconnected("the client has left") from error
            if error.errno not in _UNSUITABLE:
                raise
        finally:
            if not self._transport.is_closing():
                self._transport.set_write_buffer_limits()

    async def _send_turn(self, part: FilePart) -> bool:
        """Send in a thread for a while; return whether the socket takes no more for now."""
        left = part.left
        try:
            is_full: bool = await part.work(self._loop, part.send)
        finally:
            if self._throttle is not None:
                self._throttle.give_back(part.turn - (left - part.left))
        self._response.body_sent += left - part.left
        return is_full

    async def _wait_for_room(self, fd: int) -> None:
        output = self._output
        output.watch(fd)
        self._loop.add_writer(fd, output.wake)
        try:
            await Woken(output)
        finally:
            self._loop.remove_writer(fd)
            output.unwatch()


class Woken(Step):
    """Done when a sender may have reason to look again."""

    __slots__ = ("_output", "_has_waited")

    def __init__(self, output: Output) -> None:
        self._output: Output = output
        self._has_waited: bool = False

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        """Return a future, once."""
        if self._has_waited or self._output.is_closing:
            raise StopIteration
        self._has_waited = True
        return self._output.wait()


async def send_file(cycle: Any, responder: Any, message: "dict[str, Any]") -> None:
    """Act on a message that names a file, for an HTTPCycle.

    Raises:
        AppError: the message is malformed, or the file does not fit the Content-Length.
        ClientDisconnected: the client has left.
        OSError: the file cannot be opened or read.
    """
    is_path = message["type"] == PATHSEND
    cycle.enter_file(message["type"])
    part: Optional[FilePart] = None
    try:
        part = path_part(message) if is_path else descriptor_part(message)
        await _send_part(cycle, responder, part, is_path or not message.get("more_body", False))
        if not is_path and message.get("offset") is None:
            _move(message["file"], part.size)
    finally:
        cycle.leave_file()
        if part is not None:
            part.close()


async def _send_part(cycle: Any, responder: Any, part: FilePart, is_last: bool) -> None:
    await part.work(responder.loop, part.open)
    if cycle.state != SENDING_FILE:
        raise ClientDisconnected("the client has left")
    if part.content is not None:
        await cycle.send_content(part.content, is_last)
        return
    transfer = responder.start_file(part.size, is_last)
    if transfer is not None:
        try:
            await transfer.run(part)
        except BaseException:
            cycle.break_file()
            raise
    cycle.end_file(is_last)


def path_part(message: "dict[str, Any]") -> FilePart:
    """Return what an `http.response.pathsend` message names.

    Raises:
        AppError: it names nothing.
    """
    path = message.get("path")
    if not isinstance(path, (str, bytes, os.PathLike)) or not path:
        raise AppError(f"the path in '{PATHSEND}' must be a str, not {path!r}")
    path = os.fspath(path)
    if ("\0" if isinstance(path, str) else b"\0") in path:
        raise AppError(f"the path in '{PATHSEND}' has a NUL in it: {path!r}")
    return FilePart(path, -1, 0, -1)


def descriptor_part(message: "dict[str, Any]") -> FilePart:
    """Return what an `http.response.zerocopysend` message names.

    Raises:
        AppError: it names nothing, or a part that cannot be.
        OSError: the descriptor is closed, or of something that has no position.
    """
    file = message.get("file")
    try:
        fd = file if isinstance(file, int) else file.fileno()  # type: ignore[union-attr]
    except (AttributeError, OSError, ValueError):
        raise AppError(f"the file in '{ZEROCOPYSEND}' must be an open file with a descriptor, not {file!r}") from None
    offset, count = message.get("offset"), message.get("count")
    for number in (offset, count):
        if number is not None and (not isinstance(number, int) or number < 0):
            raise AppError(f"offset and count in '{ZEROCOPYSEND}' must be ints of at least 0, not {number!r}")
    if offset is None:
        offset = os.lseek(fd, 0, os.SEEK_CUR) if isinstance(file, int) else file.tell()  # type: ignore[union-attr]
    return FilePart(None, fd, offset, -1 if count is None else count)


def _move(file: Any, size: int) -> None:
    """Leave the position of a file behind what was sent of it, as reading would have done."""
    try:
        if isinstance(file, int):
            os.lseek(file, size, os.SEEK_CUR)
        else:
            file.seek(size, os.SEEK_CUR)
    except (OSError, ValueError):
        pass  # the application has closed it
