"""A headless Chromium, by its DevTools protocol over pipes: real clicks, real keys, screenshots."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe")


class Browser:
    """One page of a browser, without a network if it is not told otherwise; a context manager."""

    def __init__(self, profile, width=1200, height=1000, offline=True):
        self._offline = offline
        size = (f"--window-size={width},{height}", f"--user-data-dir={profile}", "about:blank")
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        self._process = subprocess.Popen(
            [
                "bash",
                "-c",
                f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}',
                "-",
                CHROMIUM,
                *FLAGS,
                *size,
            ],
            pass_fds=(theirs_in, theirs_out),
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._reader = os.fdopen(self._from, "rb")
        self._rest = b""
        self._number, self._session, self.errors = 0, None, []

    def __enter__(self):
        (page,) = [
            item for item in self.call("Target.getTargets")["targetInfos"] if item["type"] == "page"
        ]
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")
        self.call("Network.emulateNetworkConditions", offline=self._offline, latency=0,
                  downloadThroughput=-1, uploadThroughput=-1)  # fmt: skip
        return self

    def __exit__(self, *_):
        self._session = None
        self.call("Browser.close")
        self._process.wait(20)
        self._reader.close()
        os.close(self._to)

    def call(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(answer["params"]["exceptionDetails"])
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self):
        while b"\0" not in self._rest:
            more = os.read(self._from, 1 << 20)
            assert more, "the browser has ended"
            self._rest += more
        raw, _, self._rest = self._rest.partition(b"\0")
        return json.loads(raw)

    def open(self, url):
        self.call("Page.navigate", url=url)
        for _ in range(200):
            if self.ask(f"document.readyState === 'complete' && location.href === {url!r}"):
                return
        raise AssertionError("the page does not load")

    def ask(self, expression):
        """The value of an expression of JavaScript in the page; of a promise what it promises."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                         awaitPromise=True)  # fmt: skip
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def click(self, element):
        """With the mouse, on the middle of what an expression gives."""
        middle = """(element => {
            element.scrollIntoView({block: "center"});
            const box = element.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        })"""
        x, y = self.ask(f"{middle}({element})")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def prefer(self, scheme):
        """``light`` or ``dark``, as the user's system says it."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def screenshot(self):
        """As PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])
