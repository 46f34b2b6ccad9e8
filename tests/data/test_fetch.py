import errno
import http.server
import io
import sys
import threading
import zipfile

import pytest
from knee_files import bright_knee, save

from koa_kit import paths
from koa_kit.data import fetch_dataset, verify_dataset
from koa_kit.data.manifest import Source
from koa_kit.errors import KoaError

SPLITS = ("train", "val", "test")


def zipped(source, *, prefix="", extra=()):
    """Bytes of a zip of all files below `source`, each under `prefix`, with further (name, bytes) members first."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in extra:
            archive.writestr(name, data)
        for file in sorted(source.rglob("*.png")):
            archive.write(file, prefix + file.relative_to(source).as_posix())
    return buffer.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` by path, honours Range, breaks off after so many bytes each time, notes the ranges asked for."""

    def __init__(self, content, breaks=(), ranges=True):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.breaks, self.honours, self.asked = content, list(breaks), ranges, []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, data = self.server, self.server.content.get(self.path)
        if data is None:
            self.send_error(404)
            return
        asked = self.headers.get("Range")
        server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.honours else 0
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if server.breaks:
            data = data[: start + server.breaks.pop(0)]
        self.wfile.write(data[start:])

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    """Starts a server of this content, a file under each path, or the one zip ``/a.zip``."""
    servers = []

    def start(content, **options):
        content = content if isinstance(content, dict) else {"/a.zip": content}
        servers.append(Server(content, **options))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def home(published, tmp_path, monkeypatch):
    """Data folder with nothing in it, set as ``KOA_DATA_DIR``; downloads come in small pieces."""
    monkeypatch.setenv("KOA_DATA_DIR", str(tmp_path / "home"))
    monkeypatch.setattr("koa_kit.data.acquire.download.CHUNK", 1000)
    return tmp_path / "home"


def fetch(server, *names, **options):
    """Folder of oai-kl224, fetched from these zips of the server in turn (from ``a`` unless names are given)."""
    sources = [f"{server.url}/{name}.zip" for name in names or "a"]
    return fetch_dataset("oai-kl224", sources=sources, progress=False, **options)


def complete():
    return verify_dataset("oai-kl224", require=SPLITS).ok


def all_files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_download_becomes_a_complete_data_set_and_leaves_nothing_else(published, home, serve):
    extra = [("set/auto_test/0/X1L.png", b"recrop"), ("set/readme.txt", b"hello")]
    server = serve(zipped(published, prefix="set/ClsKLData/kneeKL224/", extra=extra))
    assert fetch(server) == home / "oai-kl224"
    assert complete()
    assert all_files(home) == [f"oai-kl224/{file}" for file in all_files(published)]
    fetch(server)
    assert len(server.asked) == 1  # A second fetch asks for nothing.


def test_the_progress_bar_needs_nothing_that_is_not_installed(published, home, serve, capsys):
    server = serve(zipped(published))
    fetch_dataset("oai-kl224", sources=[f"{server.url}/a.zip"], progress=True)
    assert "100%" in capsys.readouterr().err


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_breaks_off_goes_on(published, home, serve, ranges):
    server = serve(zipped(published), breaks=[5000], ranges=ranges)
    fetch(server)
    assert server.asked == [None, "bytes=5000-"]
    assert complete()


@pytest.mark.parametrize(("other", "asked"), [(0, ["bytes=6000-"]), (10**6, ["bytes=1000000-", None])])
def test_a_stopped_download_goes_on_in_the_next_fetch_unless_it_is_of_another_file(
    published, home, serve, other, asked
):
    server = serve(zipped(published), breaks=[3000, 2000, 1000])
    with pytest.raises(KoaError, match="broke off"):
        fetch(server)
    (part,) = all_files(home)
    assert part.endswith(".part")
    if other:
        (home / part).write_bytes(bytes(other))
    fetch(server)
    assert server.asked == [None, "bytes=3000-", "bytes=5000-", *asked]
    assert complete()


def test_only_what_is_missing_or_altered_is_written(published, data_home, serve):
    sorted((data_home / "oai-kl224/val/1").iterdir())[0].write_bytes(b"not an image")
    untouched = sorted((data_home / "oai-kl224/train/0").iterdir())[0]
    before = untouched.stat().st_mtime_ns
    fetch(serve(zipped(published)))
    assert untouched.stat().st_mtime_ns == before
    assert complete()


def test_of_two_files_of_one_name_the_one_with_the_right_hash_is_taken(published, home, serve):
    wrong = [(f"kneeKL299/{file}", b"another crop") for file in all_files(published)]
    fetch(serve(zipped(published, prefix="kneeKL224/", extra=wrong)))
    assert complete()


def test_an_archive_inside_the_archive_is_opened(published, home, serve):
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("dataset/KneeXrayData.zip", zipped(published, prefix="ClsKLData/kneeKL224/"))
    fetch(serve(outer.getvalue()))
    assert complete()
    assert all_files(home) == [f"oai-kl224/{file}" for file in all_files(published)]


@pytest.mark.parametrize(
    "name", ["../escaped.png", "/etc/escaped.png", "a/../../escaped.png", "..\\escaped.png", "C:/x.png"]
)
def test_an_archive_that_leads_outside_is_refused_whole(published, home, tmp_path, serve, name):
    with pytest.raises(KoaError, match="leads outside"):
        fetch(serve(zipped(published, extra=[(name, b"evil")])))
    assert all_files(home) == []
    assert not list(tmp_path.rglob("escaped.png"))


def test_a_member_too_long_for_an_image_is_never_unpacked(published, home, serve, monkeypatch):
    monkeypatch.setattr("koa_kit.data.acquire.unpack.LARGEST_IMAGE", 100)
    with pytest.raises(KoaError, match="still lacks 30 file"):
        fetch(serve(zipped(published)))
    assert all_files(home) == []


def test_an_altered_mirror_gives_nothing_and_is_named(published, home, tmp_path, serve):
    for file in all_files(published):
        save(tmp_path / "wrong" / file, bright_knee(77))
    with pytest.raises(KoaError, match=r"a\.zip: still lacks 30 file"):
        fetch(serve(zipped(tmp_path / "wrong")))
    assert all_files(home) == []


def test_a_source_that_fails_is_followed_by_the_next(published, home, serve):
    fetch(serve({"/broken.zip": b"no zip at all", "/good.zip": zipped(published)}), "absent", "broken", "good")
    assert complete()


def test_when_every_source_fails_the_message_names_each_with_its_reason_and_the_way_by_hand(published, home, serve):
    server = serve({"/broken.zip": b"no zip at all"})
    closed = Server({})
    closed.server_close()
    sources = [f"{server.url}/absent.zip", f"{server.url}/broken.zip", f"{closed.url}/a.zip"]
    with pytest.raises(KoaError) as caught:
        fetch_dataset("oai-kl224", sources=sources, progress=False)
    reasons = ["404", "damaged or no zip", "No connection"]
    by_hand = ["--archive", "56rmx5bjcr", "{split}/{kl}/{patient}{side}.png"]
    assert [part for part in (*reasons, *sources, *by_hand) if part not in str(caught.value)] == []
    assert all_files(home) == []


def test_a_full_disk_is_named_and_leaves_no_half_file(published, home, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(paths.os, "replace", full)
    with pytest.raises(KoaError, match="The disk is full"):
        fetch_dataset("oai-kl224", archive=published)
    assert all_files(home) == []


def test_kaggle_is_asked_only_on_request(published, home, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    source = Source(kind="kaggle", at="someone/knees")
    with pytest.raises(KoaError, match="ask for it with --kaggle"):
        fetch_dataset("oai-kl224", sources=[source])
    with pytest.raises(KoaError, match="kagglehub is not installed"):
        fetch_dataset("oai-kl224", sources=[source], kaggle=True)


@pytest.mark.parametrize("unpacked", [True, False])
def test_a_zip_or_folder_downloaded_by_hand_is_taken_without_a_network(published, home, tmp_path, unpacked):
    given = published if unpacked else tmp_path / "by_hand.zip"
    if not unpacked:
        given.write_bytes(zipped(published, prefix="data/sample_xrays/"))
    fetch_dataset("oai-kl224", archive=given)
    assert complete()
    assert given.exists()


@pytest.mark.parametrize(("name", "reason"), [("oai-followup", "Register at"), ("phantom", "drawn by the kit")])
def test_a_gated_or_drawn_data_set_is_not_fetched(tmp_path, name, reason):
    with pytest.raises(KoaError, match=reason):
        fetch_dataset(name, data_dir=tmp_path)
