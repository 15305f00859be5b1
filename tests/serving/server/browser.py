"""A headless Chromium, used by keyboard, over the pipe of its debugging protocol."""

import base64
import json
import os
import select
import subprocess

KEYS = {
    "Tab": (9, ""),
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    " ": (32, " "),
    "ArrowUp": (38, ""),
    "ArrowDown": (40, ""),
}


class Browser:
    """One page in one process.

    Args:
        command: Command of Chromium with its options.
        environment: Environment of the process.

    Attributes:
        problems: What the browser or the page has reported in the console.
    """

    def __init__(self, command, environment):
        (their_in, self._out), (self._in, their_out) = os.pipe(), os.pipe()
        shell = [
            "bash",
            "-c",
            f'exec "$0" "$@" 3<&{their_in} 4>&{their_out}',
            *command,
            "--remote-debugging-pipe",
        ]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
        self._process = subprocess.Popen(shell, pass_fds=(their_in, their_out), **quiet)
        os.close(their_in)
        os.close(their_out)
        self._buffer, self._number, self._session, self.problems = b"", 0, None, []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Runtime", "Log"):
            self._call(f"{domain}.enable")

    def close(self):
        self._process.terminate()
        self._process.wait(20)
        os.close(self._in)
        os.close(self._out)

    def open(self, url):
        self._call("Page.navigate", url=url)

    def resize(self, width, height, scheme="light"):
        """Sets the size of the window, and light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", features=features)

    def picture(self):
        """Returns the whole page as PNG."""
        options = {"format": "png", "captureBeyondViewport": True}
        return base64.b64decode(self._call("Page.captureScreenshot", **options)["data"])

    def press(self, *keys):
        for key in keys:
            code, text = KEYS[key]
            event = {
                "key": key,
                "code": "Space" if key == " " else key,
                "windowsVirtualKeyCode": code,
            }
            self._call(
                "Input.dispatchKeyEvent",
                type="keyDown" if text else "rawKeyDown",
                text=text,
                **event,
            )
            self._call("Input.dispatchKeyEvent", type="keyUp", **event)

    def type(self, text):
        self._call("Input.insertText", text=text)

    def ask(self, script):
        """Returns the value of an expression, awaited."""
        result = self._call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def _call(self, method, **parameters):
        self._number += 1
        message = {
            "id": self._number,
            "method": method,
            "params": parameters,
            **({"sessionId": self._session} if self._session else {}),
        }
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._read())
            self._note(answer)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _note(self, message):
        kind, found = message.get("method"), message.get("params", {})
        if kind == "Log.entryAdded":
            self.problems.append(found["entry"]["text"])
        elif kind == "Runtime.exceptionThrown":
            self.problems.append(str(found["exceptionDetails"]))
        elif kind == "Runtime.consoleAPICalled":
            self.problems.append(str(found["args"]))

    def _read(self):
        while b"\0" not in self._buffer:
            assert select.select([self._in], [], [], 60)[0], "Chromium does not answer."
            part = os.read(self._in, 1 << 16)
            assert part, "Chromium has ended."
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return message
