"""Headless Chromium and a Jupyter server of its own, for tools, benchmarks and browser tests.

`CHROMIUM` is the browser that was found on the PATH; None without it or without playwright.
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

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
SETTINGS = {  # of JupyterLab
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell stays in the page
    "docmanager-extension/plugin": {"autosave": False},
}


@contextlib.contextmanager
def open_chromium():
    """A headless browser; closed at the end."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def environment(own: Path) -> dict[str, str]:
    """Where Jupyter keeps its files: everything inside the folder `own`."""
    folders = {f"JUPYTER_{k}_DIR": own / k.lower() for k in ("CONFIG", "RUNTIME", "DATA")}
    folders |= {f"JUPYTERLAB_{k}_DIR": own / k.lower() for k in ("SETTINGS", "WORKSPACES")}
    folders["IPYTHONDIR"] = own / "ipython"
    return os.environ | {k: str(v) for k, v in folders.items()} | {"OMP_NUM_THREADS": "1"}


@contextlib.contextmanager
def jupyter(app: str, own: Path):
    """JupyterLab or Notebook on loopback, with its own configuration.

    Args:
        app: "lab" or "notebook".
        own: its folder; the notebooks are in `own / "notebooks"`.

    Yields:
        The address of a notebook, with `{}` in place of its name.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    for name, values in SETTINGS.items():
        path = own / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    command = [sys.executable, "-m", "jupyterlab" if app == "lab" else "notebook", "--no-browser"]
    command += ["--allow-root", "--expose-app-in-browser", "--ip=127.0.0.1", f"--port={port}"]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={own / 'notebooks'}"]
    if app == "lab":
        command.append("--LabApp.extension_manager=readonly")  # asks no registry
    with (own / f"{app}.log").open("w") as log:
        server = subprocess.Popen(command, env=environment(own), stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            assert server.poll() is None, (own / f"{app}.log").read_text()
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/api/status?token={token}", timeout=2)
                break
            time.sleep(0.2)
        tree = "lab/tree" if app == "lab" else "notebooks"
        yield f"{address}/{tree}/{{}}?token={token}&reset"
    finally:
        server.terminate()
        server.wait(20)


def wait(page, condition: str, seconds: int) -> None:
    """Until the condition, in JavaScript, holds for the open notebook, `panel`."""
    script = (
        f"() => {{ const panel = window.jupyterapp?.shell.currentWidget; return {condition}; }}"
    )
    page.wait_for_function(script, timeout=1000 * seconds)


def run_all_cells(page) -> None:
    """Wait for the kernel of the open notebook, then start all of its cells."""
    wait(page, "panel?.sessionContext?.session?.kernel?.status === 'idle'", 90)
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
