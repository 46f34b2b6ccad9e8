"""`koa explore`: what cannot be shown is told in the terminal; what is served, is for those who know the address."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from explored import explored, family, free_port

from koa_kit.errors import KoaError
from koa_kit.pretrained.names import DEFAULT
from koa_kit.workbench.server import base_address, is_loopback, own_address

CALLS = """import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from koa_kit.cli import main
answers = []
for call in json.load(sys.stdin):
    sys.argv, out, err = ["koa", "explore", *call, "--no-browser"], io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as leaving:
            answers.append([leaving.code, out.getvalue(), err.getvalue()])
print(json.dumps([answers, "torch" in sys.modules]))
"""
REFUSED = (
    (["NOPE"], "no run here"),
    ([""], "name of the run is empty"),
    (["{table}", "--beside", "NOPE"], "no predictions here"),
    (["damaged.parquet"], "cannot be read"),
    (["notes.txt"], "cannot be read"),
    (["{table}", "--log", "notes.txt"], "no log of reviews"),
    (["{table}", "--log", "damaged.parquet"], "no log of reviews"),
    (["{table}", "--log", "."], "cannot be read"),
    (["{table}", "--beside", "notes.txt"], "cannot be read"),
    (["{table}", "--beside", DEFAULT], "in one table of predictions only"),
    ([DEFAULT, "--split", "nope"], "no predictions here"),
    (["{table}", "--ip", "203.0.113.7"], "cannot be served there"),
    (["{table}", "--ip", ""], "address to listen at is empty"),
    (["{table}", "--ip", "no.such.host.invalid"], "cannot be served there"),
    (["{table}", "--base-url", "a b"], "no base of an address"),
    (["{table}", "--base-url", "ftp://x/"], "no base of an address"),
)


def answers(calls, cwd):
    """Status, stdout and stderr of calls of `koa explore` that are refused, and whether they needed torch."""
    command = [sys.executable, "-c", CALLS]
    done = subprocess.run(command, input=json.dumps(calls), capture_output=True, text=True, timeout=120, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def table(tmp_path_factory, make_predictions):
    path = tmp_path_factory.mktemp("tables") / "predictions.parquet"
    make_predictions(40).to_parquet(path)
    return path


class Stay(urllib.request.HTTPRedirectHandler):
    """Redirections are not followed."""

    def redirect_request(self, *_):
        return None


def status(url, host=None, **headers):
    """Status of a request, its content, and the headers of the answer; redirections are not followed."""
    request = urllib.request.Request(url, headers={"Host": host, **headers} if host else headers)
    opener = urllib.request.build_opener(Stay)
    try:
        with opener.open(request, timeout=60) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


def test_what_cannot_be_shown_is_told_in_the_terminal_at_once_and_without_torch(table, tmp_path):
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "damaged.parquet").write_bytes(table.read_bytes()[:5000])
    calls = [[str(table) if part == "{table}" else part for part in call] for call, _ in REFUSED]
    said, torch = answers(calls, tmp_path)
    assert len(said) == len(REFUSED)
    for (call, told), (code, out, err) in zip(REFUSED, said, strict=True):
        assert (code, out) == (1, ""), call
        assert told in err, call
        assert "Traceback" not in err
    assert not torch
    assert (tmp_path / "notes.txt").read_text() == "notes"


def test_a_default_log_that_is_none_is_told_too(tmp_path):
    (tmp_path / "verdicts.jsonl").write_text("my verdicts")
    assert "no log of reviews" in answers([[]], tmp_path)[0][0][2]
    assert (tmp_path / "verdicts.jsonl").read_text() == "my verdicts"


def test_a_taken_port_is_told_and_no_other_is_taken(table, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        [[code, out, err]], _ = answers([[str(table), "--port", str(port)]], tmp_path)
    assert (code, out) == (1, "")
    assert "port is taken" in err
    assert f"127.0.0.1:{port}" in err


@pytest.fixture(scope="module")
def page(table, tmp_path_factory):
    """Address of a served page."""
    with explored(table, cwd=tmp_path_factory.mktemp("cwd")) as (_, address):
        yield address


def test_without_the_token_nothing_is_shown(page):
    base, _, query = page.partition("?")
    assert len(query) > 30
    kernel = "0" * 8 + "-0000-0000-0000-" + "0" * 12
    for path in (
        "",
        "?token=",
        "?token=x",
        "?token=" + "0" * 32,
        "api/kernels/" + kernel,
        "voila/files/workbench.ipynb",
    ):
        code, content, _ = status(base + path)
        assert code == 403, path
        assert "koa_kit" not in content
    assert "koa explore printed" in status(base)[1]
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    assert status(f"{base}api/kernels/{kernel}/channels", **upgrade, **{"Sec-WebSocket-Key": "AAAA"})[0] == 403
    for way in ("login", "logout", "login?next=/"):
        assert status(base + way)[0] == 403


def test_another_host_is_refused_also_with_the_token(page):
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "203.0.113.7"):
        code, content, _ = status(page, host=host)
        assert (code, "koa_kit" in content) == (403, False), host


def test_the_page_may_load_nothing_from_elsewhere_and_links_to_nothing(page):
    code, content, headers = status(page)
    assert code == 200
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", content)
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert not any("http" in allowed or "*" in allowed for allowed in policy.values())
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", status(page.partition("?")[0])[1])


def test_a_request_of_this_machine_with_the_token_is_answered(page):
    port = page.split(":")[2].split("/")[0]
    assert status(page, host=f"localhost:{port}")[0] == 200
    assert status(page.partition("?")[0], Authorization="token " + page.partition("token=")[2])[0] == 200


def test_the_token_stands_on_no_command_line(page):
    token = page.partition("token=")[2]
    assert not [one.pid for one in psutil.process_iter(["cmdline"]) if token in " ".join(one.info.get("cmdline") or ())]


def test_a_kernel_listens_at_sockets_of_its_user_and_at_no_port(table, tmp_path):
    with explored(table, cwd=tmp_path) as (process, address):
        assert status(address)[0] == 200
        files = [part for kernel in family(process) for part in kernel.cmdline() if part.endswith(".json")]
        for file in map(Path, files):
            assert json.loads(file.read_text())["transport"] == "ipc"
            assert file.parent.stat().st_mode & 0o077 == 0
        assert files


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_server_kernels_and_temporary_files(number, table, tmp_path):
    own = tmp_path / "tmp"
    own.mkdir()
    with explored(table, cwd=tmp_path, env={"TMPDIR": str(own)}) as (process, address):
        assert status(address)[0] == 200
        kernels = family(process)
        assert kernels
        process.send_signal(number)
        assert process.wait(30) == (0 if number == signal.SIGINT else 128 + number)
        assert psutil.wait_procs(kernels, timeout=10)[1] == []
        assert "Traceback" not in process.stderr.read()
    assert list(own.iterdir()) == []


def test_a_killed_server_leaves_no_kernel(table, tmp_path):
    with explored(table, cwd=tmp_path) as (process, address):
        assert status(address)[0] == 200
        kernels = family(process)
        process.kill()
        process.wait(30)
        assert psutil.wait_procs(kernels, timeout=20)[1] == []


def test_behind_another_server_its_name_and_path_are_answered_and_others_are_not(table, tmp_path):
    outside = ["--base-url", "https://knees.example/kl1"]
    with explored(table, *outside, cwd=tmp_path, port=(port := free_port())) as (process, address):
        assert address.startswith("https://knees.example/kl1/?token=")
        inside = address.replace("https://knees.example", f"http://127.0.0.1:{port}")
        assert [status(inside, host=host)[0] for host in ("knees.example", "evil.example")] == [200, 403]
        assert status(inside.partition("?")[0], host="knees.example")[0] == 403
        process.terminate()
        assert "others can reach the page" in process.communicate(timeout=30)[1]


def test_a_page_for_other_machines_has_a_token_and_a_warning(table, tmp_path):
    with explored(table, "--ip", "0.0.0.0", cwd=tmp_path, port=(port := free_port())) as (process, address):
        token = address.partition("?")[2]
        assert status(f"http://127.0.0.1:{port}/?{token}", host="a.lab.example")[0] == 200
        assert status(f"http://127.0.0.1:{port}/")[0] == 403
        process.terminate()
        assert "others can reach the page" in process.communicate(timeout=30)[1]


def test_a_token_of_ones_own_is_taken_from_the_environment(table, tmp_path):
    with explored(table, cwd=tmp_path, env={"JUPYTER_TOKEN": "a b&c"}) as (_, address):
        assert address.endswith("?token=a+b%26c")
        assert status(address)[0] == 200


def test_reviews_of_the_kits_own_model_lie_in_the_present_folder(tmp_path, monkeypatch):
    from koa_kit.workbench import access, server

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(access, "run_voila", lambda *_, **__: None)
    for key in (server.RUN, server.LOG, server.DATA, server.SPLIT, server.BESIDE):
        monkeypatch.setenv(key, "")
    server.serve(port=free_port(), browser=False)
    assert os.environ[server.LOG] == str(tmp_path / "verdicts.jsonl")
    assert os.environ[server.RUN] == DEFAULT


def test_an_address_is_put_together_and_taken_apart():
    assert base_address("/") == base_address("") == ("", "/")
    assert base_address("kl1") == base_address("//kl1//") == ("", "/kl1/")
    assert base_address("https://a.example:8443/x/y") == ("https://a.example:8443", "/x/y/")
    for odd in ("https://", "http:///x", "javascript:alert(1)", "/x?y", "/x#y", "https://a b/", '/"', "é"):
        with pytest.raises(KoaError):
            base_address(odd)
    assert own_address("::1", 8866) == "http://[::1]:8866"
    assert [is_loopback(ip) for ip in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "203.0.113.7")] == [1, 1, 1, 0, 0]
