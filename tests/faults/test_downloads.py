"""Downloads from servers that lie, dawdle, break off or never end, damaged archives, and fetches that are killed."""

import http.server
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from contextlib import suppress

import pytest
from killing import changes, kill_at, spread
from knee_files import bright_knee, publish, save

from koa_kit.data import fetch_dataset, manifest, verify_dataset
from koa_kit.data.acquire import download, unpack
from koa_kit.data.acquire.unpack import take_files
from koa_kit.errors import KoaError

FETCH = """
from pathlib import Path
import koa_kit.data.acquire.fetch, koa_kit.data.files, pooch, requests, tqdm, rich.console, rich.progress
from koa_kit.data import fetch_dataset, manifest
home = Path(sys.argv[2])
manifest.HASHES = home
manifest.paths.resource = lambda name: home / name
koa_kit.data.acquire.download.CHUNK = 1000
armed = True
fetch_dataset("oai-kl224", data_dir=sys.argv[3], sources=[sys.argv[4]], progress=False)
"""


class Server(http.server.ThreadingHTTPServer):
    """Answers each request with the next of `answers`, the last again and again; notes the ranges it was asked for."""

    daemon_threads = True

    def __init__(self, *answers):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.asked, self.url = list(answers), [], f"http://127.0.0.1:{self.server_port}/a.zip"

    def handle_error(self, *_):
        pass  # Who asked has hung up.


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(self.headers.get("Range"))
        answers = self.server.answers
        self.close_connection = True
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def start(self, status=200, reason=None, **headers):
        """Send the first lines of an answer, ``Content_Length=5`` as Content-Length: 5."""
        self.send_response(status, reason)
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def log_message(self, *_):
        pass


def whole(data, length=None):
    """Answer with all of it, whatever range was asked for, and perhaps with another length than it has."""

    def answer(request):
        request.start(Content_Length=len(data) if length is None else length)
        request.wfile.write(data)

    return answer


def ranged(data, until=None, shift=0):
    """Answer with the range that was asked for, up to a byte at which it breaks off, or one `shift` bytes further."""

    def answer(request):
        asked = request.headers.get("Range")
        if asked is None:
            request.start(Content_Length=len(data))
            request.wfile.write(data[:until])
            return
        first = int(asked.removeprefix("bytes=").rstrip("-")) + shift
        request.start(206, Content_Range=f"bytes {first}-{len(data) - 1}/{len(data)}", Content_Length=len(data) - first)
        request.wfile.write(data[first:until])

    return answer


def busy(status=503, **headers):
    """Answer that it is too busy."""
    return lambda request: request.start(status, Content_Length=0, **headers)


def drip(data, seconds, body=True):
    """Answer byte by byte, with a pause after each; without `body` it gets no further than its headers."""

    def answer(request):
        request.wfile.write(b"HTTP/1.1 200 OK\r\n")
        if body:
            request.wfile.write(b"Content-Length: %d\r\n\r\n" % len(data))
        for byte in data:
            request.wfile.write(bytes([byte]) if body else b"X-%d: y\r\n" % byte)
            time.sleep(seconds)

    return answer


@pytest.fixture
def serve():
    """Starts a server that gives these answers in turn."""
    servers = []

    def start(*answers):
        servers.append(Server(*answers))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def knees(tmp_path, monkeypatch):
    """A zip of thirty published knees; there is nothing in the data folder, and downloads come in small pieces."""
    source = publish(tmp_path)
    monkeypatch.setattr(manifest, "HASHES", tmp_path)
    monkeypatch.setattr(manifest.paths, "resource", lambda name: tmp_path / name)
    monkeypatch.setenv("KOA_DATA_DIR", str(tmp_path / "home"))
    monkeypatch.setattr(download, "CHUNK", 1000)
    monkeypatch.setattr(download, "LONGEST_PAUSE", 0.01)
    return zipped({path.relative_to(source).as_posix(): path.read_bytes() for path in sorted(source.rglob("*.png"))})


def zipped(members, method=zipfile.ZIP_STORED) -> bytes:
    """Bytes of a zip of these contents by name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def fetch(*servers, **options):
    return fetch_dataset("oai-kl224", sources=[server.url for server in servers], progress=False, **options)


def complete(home) -> bool:
    """True if the data set is complete in its folder, and nothing else is left there."""
    left = sorted(path.name for path in home.iterdir())
    return left == ["oai-kl224"] and verify_dataset("oai-kl224", data_dir=home, require=["train", "val", "test"]).ok


@pytest.mark.parametrize(
    "answers",
    [
        lambda data: [busy(), whole(data)],
        lambda data: [busy(502), busy(429, Retry_After=7), whole(data)],
        lambda data: [busy(503, Retry_After="Fri, 27 Nov 2026 10:00:00 GMT"), whole(data)],
        lambda data: [ranged(data, 5000), busy(), ranged(data)],
        lambda data: [ranged(data, 5000), whole(data)],  # It ignores the range.
        lambda data: [ranged(data, 5000), ranged(data, shift=-700), ranged(data)],  # It sends another range.
        lambda data: [ranged(data, 5000), ranged(data, shift=700), ranged(data)],
        lambda data: [ranged(data, 5000), ranged(data, 9000), ranged(data)],
        lambda data: [whole(b"", len(data)), ranged(data)],
    ],
)
def test_a_server_that_gets_it_right_in_the_end_gives_a_complete_data_set(knees, serve, tmp_path, answers):
    fetch(serve(*answers(knees)))
    assert complete(tmp_path / "home")


def around(request):
    request.start(302, Location=request.path, Content_Length=0)


def endless(request):
    request.start(Transfer_Encoding="chunked")
    while True:
        request.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda data: around, "Exceeded 30 redirects"),
        (lambda data: lambda request: request.start(302, Location="file:///etc/passwd", Content_Length=0), "broke off"),
        (lambda data: lambda request: request.start(302, Location="http://[", Content_Length=0), "broke off"),
        (lambda data: busy(), "answered 503"),
        (lambda data: busy(416), "answered 416"),
        (
            lambda data: lambda request: request.start(404, "\x1b[31mred", Content_Length=0),
            r"answered 404 \\x1b\[31mred",
        ),
        (lambda data: whole(data[:-9], len(data)), "broke off|No connection"),
        (lambda data: whole(data[:9000], 9000), "damaged or no zip"),
        (lambda data: whole(data, 9000), "damaged or no zip"),
        (lambda data: whole(b"<html>Please log in</html>"), "damaged or no zip"),
        (lambda data: whole(data, "many"), "broke off|No connection"),
        (lambda data: whole(b""), "damaged or no zip"),
        (lambda data: lambda request: request.wfile.write(b"nonsense\r\n\r\n"), "No connection|broke off"),
        (
            lambda data: lambda request: request.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"x" * 10**6),
            "No connection|broke",
        ),
        (lambda data: lambda request: request.connection.close(), "No connection"),
        (lambda data: whole(zipped({"train/0/TRAIN00L.png": b"altered"})), "still lacks 30 file"),
        (lambda data: drip(data, 0.02), "next to nothing"),
        (lambda data: drip(data, 0.02, body=False), "next to nothing"),
        (lambda data: lambda request: time.sleep(30), "next to nothing"),
        (lambda data: endless, "no archive of knees"),
    ],
)
def test_a_server_that_never_gets_it_right_is_named_and_followed_by_the_next(
    knees, serve, tmp_path, monkeypatch, answer, reason
):
    monkeypatch.setattr(download, "STALLED_SECONDS", 0.7)
    monkeypatch.setattr(download, "LARGEST_DOWNLOAD", 30 << 20)
    began = time.monotonic()
    server = serve(answer(knees))
    with pytest.raises(KoaError, match=reason) as caught:
        fetch(server)
    assert server.url in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert not [path for path in (tmp_path / "home").rglob("*") if path.suffix not in ("", ".part")]
    fetch(server, serve(whole(knees)))
    assert verify_dataset("oai-kl224", require=["train", "val", "test"]).ok
    assert time.monotonic() - began < 20


def test_a_download_that_takes_too_long_stops_at_its_deadline_and_goes_on_next_time(knees, serve, tmp_path):
    def slowly(request):
        request.start(Content_Length=len(knees))
        for start in range(0, len(knees), 1000):
            request.wfile.write(knees[start : start + 1000])
            time.sleep(0.3)

    server = serve(slowly, ranged(knees))
    began = time.monotonic()
    with pytest.raises(KoaError, match="time that was given for it is over"):
        fetch(server, hours=1 / 3600)
    assert time.monotonic() - began < 5
    fetch(server)
    assert int(server.asked[-1].removeprefix("bytes=").rstrip("-")) > 0
    assert complete(tmp_path / "home")


@pytest.mark.parametrize("front", [1, 1000, 5000])
def test_an_archive_with_its_front_missing_is_named_and_does_not_stand_in_the_way(knees, serve, tmp_path, front):
    server = serve(whole(knees[front:]), whole(knees))
    with pytest.raises(KoaError, match="damaged or no zip"):
        fetch(server)
    fetch(server)
    assert complete(tmp_path / "home")


@pytest.mark.parametrize("name", ["a.zip", "a.zip.part"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[5000:],
        lambda data: data[:-200] + bytes(200),
        lambda data: bytes(len(data)),
        lambda data: data[:3000] + bytes(3000) + data[6000:],
        lambda data: data + b"more",
    ],
)
def test_a_damaged_download_of_an_earlier_fetch_does_not_keep_this_one_from_its_end(
    knees, serve, tmp_path, name, damage
):
    server = serve(ranged(knees))
    downloads = tmp_path / "home" / ".koa-downloads"
    downloads.mkdir(parents=True)
    left = download.archive_of(server.url, downloads)
    (left if name == "a.zip" else download.part_of(left)).write_bytes(damage(knees))
    fetch(server)
    assert complete(tmp_path / "home")


def test_in_a_damaged_archive_what_is_whole_is_taken(knees, tmp_path):
    archive = tmp_path / "given.zip"
    archive.write_bytes(knees[:3000] + bytes(50) + knees[3050:])
    with pytest.raises(KoaError, match=r"damaged or no zip[\s\S]* 1 file|1 file[\s\S]*damaged or no zip"):
        fetch_dataset("oai-kl224", archive=archive)
    assert len(list((tmp_path / "home").rglob("*.png"))) == 29
    assert archive.is_file()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_damaged_anywhere_gives_right_files_or_none(knees, tmp_path, method):
    with zipfile.ZipFile(io.BytesIO(knees)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    data = zipped(members, method)
    known = manifest.load_manifest()["oai-kl224"].file_hashes()
    for number in range(40):
        broken = bytearray(data)
        for place in range(3):
            broken[zlib.crc32(bytes([number, place])) % len(broken)] ^= 1 + number
        (tmp_path / "given.zip").write_bytes(broken)
        with suppress(KoaError):
            take_files(tmp_path / "given.zip", known, tmp_path / "taken" / "oai-kl224")
    taken = {
        path.relative_to(tmp_path / "taken" / "oai-kl224").as_posix(): path
        for path in (tmp_path / "taken").rglob("*.png")
    }
    assert {name: path.read_bytes() for name, path in taken.items()} == members
    assert sorted(path.name for path in (tmp_path / "taken").iterdir()) == ["oai-kl224"]


def test_two_fetches_at_once_download_once_and_both_end_well(knees, serve, tmp_path):
    def slowly(request):
        request.start(Content_Length=len(knees))
        for start in range(0, len(knees), 1000):
            request.wfile.write(knees[start : start + 1000])
            time.sleep(0.05)

    server = serve(slowly)
    command = [sys.executable, "-c", f"import sys\n{FETCH}", "0", tmp_path, tmp_path / "home", server.url]
    both = [subprocess.Popen([str(part) for part in command]) for _ in range(2)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    assert len(server.asked) == 1
    assert complete(tmp_path / "home")


def test_a_fetch_that_waits_in_vain_for_another_says_so(knees, serve, tmp_path):
    release = threading.Event()

    def hold(request):
        request.start(Content_Length=len(knees))
        release.wait(30)

    server = serve(hold, whole(knees))
    command = [sys.executable, "-c", f"import sys\n{FETCH}", "0", tmp_path, tmp_path / "home", server.url]
    with subprocess.Popen([str(part) for part in command]) as process:
        while not server.asked:
            time.sleep(0.05)
        with pytest.raises(KoaError, match="Another process still fetches"):
            fetch(server, hours=1 / 3600)
        process.kill()
    release.set()
    fetch(server)
    assert complete(tmp_path / "home")


def test_a_fetch_killed_at_any_change_of_the_disk_goes_on(knees, serve, tmp_path):
    server = serve(ranged(knees))
    total = changes(FETCH, tmp_path, tmp_path / "whole", server.url)
    for change in spread(total):
        home = tmp_path / f"killed-{change}"
        kill_at(change, FETCH, tmp_path, home, server.url)
        fetch(server, data_dir=home)
        if change < total - 1:  # Later nothing is wanting, and nothing is done that could clear up.
            assert complete(home), change
        assert verify_dataset("oai-kl224", data_dir=home, require=["train", "val", "test"]).ok


def test_a_fetch_killed_while_bytes_come_goes_on_where_it_was(knees, serve, tmp_path):
    for number in spread(len(knees) - 2000):
        sent = threading.Event()

        def hold(request, sent=sent, number=number):
            request.start(Content_Length=len(knees))
            request.wfile.write(knees[: number + 1000])
            request.wfile.flush()
            sent.set()
            time.sleep(1)

        server, home = serve(hold, ranged(knees)), tmp_path / f"killed-{number}"
        command = [sys.executable, "-c", f"import sys\n{FETCH}", "0", tmp_path, home, server.url]
        with subprocess.Popen([str(part) for part in command]) as process:
            assert sent.wait(30)
            time.sleep(0.1)
            os.kill(process.pid, signal.SIGKILL)
        fetch(server, data_dir=home)
        assert server.asked[-1] is None or server.asked[-1] != "bytes=0-"
        assert complete(home), number


def test_a_full_disk_does_not_cost_the_download(knees, serve, tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    server = serve(whole(knees))
    with monkeypatch.context() as patched:
        patched.setattr(unpack.Path, "write_bytes", full)
        with pytest.raises(KoaError, match="disk is full"):
            fetch(server)
    fetch(server)
    assert len(server.asked) == 1
    assert complete(tmp_path / "home")


@pytest.fixture
def wanted(knees):
    return manifest.load_manifest()["oai-kl224"].file_hashes()


def test_100000_members_are_looked_through_within_ten_seconds(knees, wanted, tmp_path):
    members = {f"set/{number % 97}/{number}.png": b"" for number in range(100_000)}
    with zipfile.ZipFile(io.BytesIO(knees)) as archive:
        members |= {f"deep/{name}": archive.read(name) for name in archive.namelist()}
    (tmp_path / "many.zip").write_bytes(zipped(members))
    many = {f"train/0/{number:07}L.png": "0" * 64 for number in range(8000)}
    patterns = {f"MedicalExpert-I/{number}/*.png": None for number in range(10)}
    began = time.perf_counter()
    assert take_files(tmp_path / "many.zip", wanted | many | patterns, tmp_path / "taken" / "oai-kl224") == 30
    assert time.perf_counter() - began < 10


def test_an_archive_is_opened_inside_another_and_no_deeper(knees, wanted, tmp_path):
    inner = zipped({"a.zip": b"no zip", "b.zip": knees})
    (tmp_path / "twice.zip").write_bytes(inner)
    with pytest.raises(KoaError, match="damaged or no zip"):  # After the good one was taken.
        take_files(tmp_path / "twice.zip", wanted, tmp_path / "taken" / "oai-kl224")
    assert len(list((tmp_path / "taken").rglob("*.png"))) == 30
    (tmp_path / "thrice.zip").write_bytes(zipped({"c.zip": inner}))
    assert take_files(tmp_path / "thrice.zip", wanted, tmp_path / "other" / "oai-kl224") == 0
    assert list((tmp_path / "other").rglob("*")) == []


def test_a_bomb_is_not_unpacked(wanted, tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "MOST_UNPACKED", 20 << 20)
    zeros = bytes(8 << 20)
    images = zipped({f"{number}/train/0/TRAIN00L.png": zeros for number in range(5)}, zipfile.ZIP_DEFLATED)
    archives = zipped({f"{number}.zip": zeros for number in range(5)}, zipfile.ZIP_DEFLATED)
    many = zipped({f"{number}.zip": b"" for number in range(101)})
    for data, reason in (
        (images, "unpacks to more than"),
        (archives, "unpacks to more|damaged"),
        (many, "101 archives"),
    ):
        (tmp_path / "bomb.zip").write_bytes(data)
        with pytest.raises(KoaError, match=reason):
            take_files(tmp_path / "bomb.zip", wanted, tmp_path / "taken" / "oai-kl224")
        assert list((tmp_path / "taken").rglob("*")) == []


def test_a_folder_with_a_pipe_a_loop_and_an_unreadable_file_gives_what_it_holds(knees, wanted, tmp_path):
    given = tmp_path / "published"
    os.mkfifo(given / "train" / "0" / "PIPE.png")
    (given / "train" / "loop").symlink_to("..", target_is_directory=True)
    (given / "train" / "0" / "GONE.png").symlink_to("nowhere")
    assert take_files(given, wanted, tmp_path / "taken" / "oai-kl224") == 30


def test_a_folder_that_may_not_be_written_to_is_named(knees, tmp_path):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(KoaError, match="cannot be used"):
        fetch_dataset("oai-kl224", archive=tmp_path / "published")


def test_names_in_an_archive_are_shown_without_what_a_terminal_would_obey(wanted, tmp_path):
    (tmp_path / "evil.zip").write_bytes(zipped({"../\x1b[31m.png": b""}))
    with pytest.raises(KoaError, match="leads outside") as caught:
        take_files(tmp_path / "evil.zip", wanted, tmp_path / "taken" / "oai-kl224")
    assert "\x1b" not in str(caught.value)
    save(tmp_path / "one.png", bright_knee())
    (tmp_path / "odd.zip").write_bytes(zipped({"e/0/a\nb.png": b"1", "e/0/\x1bb.png": b"1", "e/0/good.png": b"1"}))
    assert take_files(tmp_path / "odd.zip", {"e/0/*.png": None}, tmp_path / "taken" / "x") == 1
    assert json.dumps([path.name for path in (tmp_path / "taken").rglob("*.png")]) == '["good.png"]'
