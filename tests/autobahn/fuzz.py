"""The suite's fuzzing client, run in its own environment: `fuzz.py SPEC`, where SPEC is the path of its JSON.

Writes the suite's JSON reports to the spec's `outdir`, and `cases.json` there with the cases it means to run.

Here the suite's code meets the library's: one speaks in byte strings, the other in bytes.
"""

from __future__ import annotations

import functools
import json
import sys
import traceback
import types
from pathlib import Path

import bytestrings
from autobahn.websocket import protocol
from autobahntestsuite import fuzzing
from twisted.internet import reactor

protocol.createXorMasker = lambda mask, length=None: bytestrings.XorMasker(mask)
protocol.Utf8Validator = bytestrings.Utf8Validator
fuzzing.json = types.SimpleNamespace(dumps=functools.partial(json.dumps, default=bytestrings.from_bytes))


class FuzzingProtocol(fuzzing.FuzzingClientProtocol):
    """The suite's protocol with bytes on the library's side of it and byte strings on its cases'."""

    # To the library.

    def sendFrame(self, opcode, payload=b"", fin=True, rsv=0, mask=None, payload_len=None, chopsize=None, sync=False):
        payload = bytestrings.to_bytes(payload)
        if payload_len is not None:
            # The library would repeat it with a division that Python 3 does otherwise.
            payload = (payload * (payload_len // len(payload) + 1))[:payload_len]
        super().sendFrame(opcode, payload, fin, rsv, mask, None, chopsize, sync)

    def sendMessage(self, payload, *args, **kwargs):
        super().sendMessage(bytestrings.to_bytes(payload), *args, **kwargs)

    def sendMessageFrameData(self, payload, *args, **kwargs):
        return super().sendMessageFrameData(bytestrings.to_bytes(payload), *args, **kwargs)

    def sendMessageFrame(self, payload, *args, **kwargs):
        return super().sendMessageFrame(bytestrings.to_bytes(payload), *args, **kwargs)

    def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
        reason = None if reasonUtf8 is None else bytestrings.to_bytes(reasonUtf8)
        super().sendCloseFrame(code, reason, isReply)

    # From the library.

    def onMessage(self, payload, isBinary):
        # The cases of compression read their data from files, and so speak in bytes.
        if not hasattr(self.runCase, "TESTDATA"):
            payload = bytestrings.from_bytes(payload)
        super().onMessage(payload, isBinary)

    def onPong(self, payload):
        super().onPong(bytestrings.from_bytes(payload))

    def logRxOctets(self, data):
        super().logRxOctets(bytestrings.from_bytes(data))

    def logTxOctets(self, data, sync):
        super().logTxOctets(bytestrings.from_bytes(data), sync)

    def logRxFrame(self, frameHeader, payload):
        super().logRxFrame(frameHeader, [bytestrings.from_bytes(piece) for piece in payload])

    def logTxFrame(self, frameHeader, payload, *args):
        super().logTxFrame(frameHeader, bytestrings.from_bytes(payload), *args)


class FuzzingFactory(fuzzing.FuzzingClientFactory):
    """The suite's factory, for the protocol above, without its pages for people."""

    broken = False

    def buildProtocol(self, addr):
        made = super().buildProtocol(addr)
        made.__class__ = FuzzingProtocol
        return made

    def logCase(self, caseResults):
        super().logCase(caseResults)
        print(*(caseResults[key] for key in ("id", "behavior", "behaviorClose", "duration")), flush=True)

    def clientConnectionLost(self, connector, reason):
        # The reactor would log what goes wrong here, and wait for ever.
        try:
            super().clientConnectionLost(connector, reason)
        except Exception:
            traceback.print_exc()
            self.broken = True
            reactor.stop()

    def createReports(self):
        super().createReports(produceHtml=False)


def main() -> int:
    spec = json.loads(Path(sys.argv[1]).read_text())
    factory = FuzzingFactory(spec)
    Path(spec["outdir"], "cases.json").write_text(json.dumps(factory.specCases))
    reactor.run()
    return int(factory.broken)


if __name__ == "__main__":
    sys.exit(main())
