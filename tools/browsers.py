"""Headless Chromium and Jupyter servers, for the browser tests and the tools that need them.

`CHROMIUM` is None where there is no Chromium on the PATH, or no playwright.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
try:
    from playwright.sync_api import expect, sync_playwright
except ImportError:
    CHROMIUM = expect = sync_playwright = None

__all__ = ["CHROMIUM", "METADATA", "chromium", "expect", "jupyter", "sync_playwright", "wait"]

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell stays in the page
    "docmanager-extension/plugin": {"autosave": False},
}


@contextlib.contextmanager
def chromium():
    """A headless browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextlib.contextmanager
def jupyter(app: str, own: Path):
    """JupyterLab or Notebook on loopback, with its own configuration: yields its address.

    Args:
        app: "lab" or "notebook".
        own: where it keeps everything, and where its notebooks are: `own / "notebooks"`.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    for name, values in SETTINGS.items():
        path = own / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    folders = {f"JUPYTER_{k}_DIR": own / k.lower() for k in ("CONFIG", "RUNTIME", "DATA")}
    folders |= {f"JUPYTERLAB_{k}_DIR": own / k.lower() for k in ("SETTINGS", "WORKSPACES")}
    folders["IPYTHONDIR"] = own / "ipython"
    env = os.environ | {k: str(v) for k, v in folders.items()} | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "jupyterlab" if app == "lab" else "notebook", "--no-browser"]
    command += ["--allow-root", "--expose-app-in-browser", "--ip=127.0.0.1", f"--port={port}"]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={own / 'notebooks'}"]
    if app == "lab":
        command.append("--LabApp.extension_manager=readonly")  # asks no registry
    with (own / f"{app}.log").open("w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        for _ in range(300):
            assert server.poll() is None, (own / f"{app}.log").read_text()
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status?token={token}")
                break
            time.sleep(0.2)
        tree = "lab/tree" if app == "lab" else "notebooks"
        yield f"http://127.0.0.1:{port}/{tree}/{{}}?token={token}&reset"
    finally:
        server.terminate()
        server.wait(20)


def wait(page, condition: str, seconds: int) -> None:
    """Until the condition holds for the notebook that is open, `panel`."""
    script = (
        f"() => {{ const panel = window.jupyterapp?.shell.currentWidget; return {condition}; }}"
    )
    page.wait_for_function(script, timeout=1000 * seconds)


def run_all(page) -> None:
    """Run all cells of the notebook that is open, and wait until each was run."""
    wait(page, "panel?.sessionContext?.session?.kernel?.status === 'idle'", 90)
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    wait(
        page,
        "panel.sessionContext.session.kernel.status === 'idle' && panel.content.widgets"
        ".filter(c => c.model.type === 'code' && c.model.sharedModel.getSource().trim())"
        ".every(c => c.model.executionCount !== null)",
        240,
    )
