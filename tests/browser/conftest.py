"""A real JupyterLab in a real Chromium."""

from __future__ import annotations

import ast
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from dgmlab.cli.labs import jupyterlab

LABS = Path(__file__).resolve().parents[2] / "labs"
ARTEFACTS = Path(__file__).resolve().parents[1] / "artefacts"
CHROMIUM = os.environ.get("DGMLAB_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") \
    or shutil.which("google-chrome")


def pytest_collection_modifyitems(items):
    if CHROMIUM is None and not os.environ.get("DGMLAB_REQUIRE_BROWSER"):
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="no Chromium on this machine"))


def until(condition, what: str, seconds: float = 60):
    """Wait until ``condition()`` holds; returns what it returned."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.2)
    raise AssertionError(f"waited {seconds} s in vain: {what}")


def drag(page, handle, pixels: int):
    """Move a slider's handle by so many screen pixels, as a hand does."""
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    for i in range(1, 11):
        page.mouse.move(x + pixels * i / 10, y)
        time.sleep(0.02)
    page.mouse.up()


class LabPage:
    """A lab's page as a person uses it: its cells by their ids."""

    def __init__(self, notebook):
        self.notebook, self.page, self.ask = notebook, notebook.page, notebook.ask
        self.ids = self.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets"
                                      ".map(cell => cell.model.sharedModel.id)")

    def run(self, *ids: str):
        for each in ids:
            self.notebook.run_cells(self.ids.index(each), self.ids.index(each))
            self.notebook.idle()

    def cell(self, id: str):
        return self.page.locator(".jp-Notebook .jp-Cell").nth(self.ids.index(id))

    def press(self, id: str, name: str):
        """A button in the cell's output, or one of the choices of a knob."""
        self.cell(id).locator("button", has_text=name).first.click()

    def slider(self, id: str, name: str):
        """The handle of the cell's slider that is described so."""
        return self.cell(id).locator(".widget-slider", has_text=name).locator(".noUi-handle")

    def show(self, id: str, name: str, *, output: bool = False):
        """A screenshot with the cell, or its output, at the top of the screen."""
        self.page.evaluate("([i, output]) => { const w = window.jupyterapp.shell.currentWidget.content.widgets[i];"
                           " (output ? w.outputArea : w).node.scrollIntoView({block: 'start'}); }",
                           [self.ids.index(id), output])
        time.sleep(1.5)
        self.notebook.screenshot(name)


class Server:
    """A JupyterLab of its own: its own settings, its own runtime folder, a copy of the labs."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.labs = folder / "labs"
        shutil.copytree(LABS, self.labs, ignore=shutil.ignore_patterns(".ipynb_checkpoints", "sessions"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.runtime = folder / "runtime"
        # Live or batch is for the lab to find out; this test's own environment must not decide it.
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith(("DGMLAB_LIVE", "PYTEST_", "OMP_NUM_THREADS"))}
        environment |= {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
        environment |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "IPYTHONDIR": str(folder / "ipython"),
                        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"), "DGMLAB_DATA": str(folder / "data")}
        command, added = jupyterlab(None, self.port, browser=False)        # what `dgmlab lab` starts
        environment |= {name: value for name, value in added.items() if os.environ.get(name) != value}
        command = [f"--ServerApp.root_dir={self.labs}" if "root_dir" in part else part for part in command]
        command += ["--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True",
                    "--ServerApp.disable_check_xsrf=True"]
        self.process = subprocess.Popen(command, env=environment, stdout=open(folder / "jupyter.log", "wb"),
                                        stderr=subprocess.STDOUT)
        self.url = f"http://127.0.0.1:{self.port}"
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{self.url}/api", timeout=2).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.25)
        raise RuntimeError(f"JupyterLab did not start:\n{(folder / 'jupyter.log').read_text()[-2000:]}")

    def kernels(self) -> list[dict]:
        with urllib.request.urlopen(f"{self.url}/api/kernels", timeout=10) as answer:
            return json.load(answer)

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("jupyter"))
    yield server
    server.close()


@pytest.fixture(scope="module")             # not longer: while it is open, an event loop runs in the main thread
def browser():
    if CHROMIUM is None:
        pytest.fail("DGMLAB_REQUIRE_BROWSER is set, but there is no Chromium here; install it.")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[
            "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync"])
        yield browser
        browser.close()


class Notebook:
    """One notebook in one tab, and its kernel seen from the side."""

    def __init__(self, browser, server: Server, name: str):
        self.server, self.name = server, name
        self.clients = {}
        self.page = browser.new_page(viewport={"width": 1500, "height": 1000})
        self.page.goto(f"{server.url}/lab/tree/{name}?reset")
        self.page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell", timeout=60_000)
        self.idle()

    def command(self, name: str):
        self.page.evaluate("name => window.jupyterapp.commands.execute(name)", name)

    def idle(self, timeout=90):
        """Wait until the kernel is connected and not busy."""
        self.page.wait_for_function(
            "() => { const panel = window.jupyterapp.shell.currentWidget;"
            " return panel?.sessionContext?.session?.kernel?.status === 'idle'; }", timeout=1000 * timeout)

    def run_cells(self, first: int, last: int):
        """Run the cells with these indices (inclusive)."""
        self.page.evaluate(
            """async ([first, last]) => {
                const notebook = window.jupyterapp.shell.currentWidget.content;
                notebook.deselectAll();
                notebook.activeCellIndex = first;
                if (last > first) notebook.extendContiguousSelectionTo(last);
                await window.jupyterapp.commands.execute('notebook:run-cell');
            }""", [first, last])

    def cells(self) -> list[str]:
        return self.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets"
                                  ".map(cell => cell.model.sharedModel.source)")

    def ask(self, expression: str, timeout=60):
        """The value of a Python expression in the notebook's kernel, as JSON would have it."""
        from jupyter_client import BlockingKernelClient

        kernel = self.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.id")
        if kernel not in self.clients:
            client = BlockingKernelClient(connection_file=str(self.server.runtime / f"kernel-{kernel}.json"))
            client.load_connection_file()
            client.start_channels(hb=False)
            self.clients[kernel] = client
        reply = self.clients[kernel].execute(
            "", user_expressions={"x": f"__import__('json').dumps({expression})"}, reply=True, timeout=timeout,
            store_history=False, silent=True)
        answer = reply["content"]["user_expressions"]["x"]
        assert answer["status"] == "ok", answer
        return json.loads(ast.literal_eval(answer["data"]["text/plain"]))

    def screenshot(self, name: str) -> Path:
        ARTEFACTS.mkdir(exist_ok=True)
        path = ARTEFACTS / f"{name}.png"
        self.page.screenshot(path=path)
        return path

    def close(self):
        for client in self.clients.values():
            client.stop_channels()
        self.page.close()


@pytest.fixture
def open_notebook(server, browser):
    opened = []
    shutil.rmtree(server.labs / "sessions", ignore_errors=True)     # what earlier tests on this server saved

    def open_(name: str) -> Notebook:
        opened.append(Notebook(browser, server, name))
        return opened[-1]

    yield open_
    for notebook in opened:
        notebook.close()
    for kernel in server.kernels():
        request = urllib.request.Request(f"{server.url}/api/kernels/{kernel['id']}", method="DELETE")
        urllib.request.urlopen(request, timeout=20).close()
