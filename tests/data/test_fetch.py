import http.server
import io
import sys
import threading
import zipfile

import pytest
from knee_files import bright_knee, save

from koa_kit.data.acquire.fetch import fetch_dataset
from koa_kit.data.acquire.verify import verify_dataset
from koa_kit.data.manifest import Source
from koa_kit.errors import KoaError


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
    """Gives `content` by path, honours Range, breaks off after `breaks` bytes once, and notes the ranges asked for."""

    def __init__(self, content, breaks=None, ranges=True):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.breaks, self.honours, self.asked = content, breaks, ranges, []
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
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if server.breaks:
            data, server.breaks = data[: start + server.breaks], None
        self.wfile.write(data[start:])

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    servers = []

    def start(content, **options):
        servers.append(Server(content, **options))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def all_files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_download_becomes_a_complete_data_set_and_leaves_nothing_else(published, tmp_path, serve):
    extra = [("set/auto_test/0/X1L.png", b"recrop"), ("set/readme.txt", b"hello")]
    server = serve({"/a.zip": zipped(published, prefix="set/ClsKLData/kneeKL224/", extra=extra)})
    folder = fetch_dataset("oai-kl224", data_dir=tmp_path / "home", sources=[f"{server.url}/a.zip"], progress=False)
    assert verify_dataset("oai-kl224", data_dir=tmp_path / "home", require=("train", "val", "test")).ok
    assert all_files(tmp_path / "home") == [f"oai-kl224/{file}" for file in all_files(published)]
    assert folder == tmp_path / "home" / "oai-kl224"


def test_a_second_fetch_asks_for_nothing(published, tmp_path, serve):
    server = serve({"/a.zip": zipped(published)})
    for _ in range(2):
        fetch_dataset("oai-kl224", data_dir=tmp_path / "home", sources=[f"{server.url}/a.zip"], progress=False)
    assert len(server.asked) == 1


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_breaks_off_goes_on(published, tmp_path, serve, ranges, monkeypatch):
    monkeypatch.setattr("koa_kit.data.acquire.download.CHUNK", 1000)
    server = serve({"/a.zip": zipped(published)}, breaks=5000, ranges=ranges)
    fetch_dataset("oai-kl224", data_dir=tmp_path / "home", sources=[f"{server.url}/a.zip"], progress=False)
    assert server.asked == [None, "bytes=5000-"]
    assert verify_dataset("oai-kl224", data_dir=tmp_path / "home", require=("train", "val", "test")).ok


def test_only_what_is_missing_or_altered_is_written(published, data_home, serve):
    altered = sorted((data_home / "oai-kl224/val/1").iterdir())[0]
    altered.write_bytes(b"not an image")
    untouched = sorted((data_home / "oai-kl224/train/0").iterdir())[0]
    before = untouched.stat().st_mtime_ns
    server = serve({"/a.zip": zipped(published)})
    fetch_dataset("oai-kl224", sources=[f"{server.url}/a.zip"], progress=False)
    assert untouched.stat().st_mtime_ns == before
    assert verify_dataset("oai-kl224", require=("train", "val", "test")).ok


def test_of_two_files_of_one_name_the_one_with_the_right_hash_is_taken(published, tmp_path, serve):
    wrong = [(f"kneeKL299/{file}", b"another crop") for file in all_files(published)]
    server = serve({"/a.zip": zipped(published, prefix="kneeKL224/", extra=wrong)})
    fetch_dataset("oai-kl224", data_dir=tmp_path / "home", sources=[f"{server.url}/a.zip"], progress=False)
    assert verify_dataset("oai-kl224", data_dir=tmp_path / "home", require=("train",)).ok


def test_an_archive_inside_the_archive_is_opened(published, tmp_path, serve):
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("dataset/KneeXrayData.zip", zipped(published, prefix="ClsKLData/kneeKL224/"))
    server = serve({"/a.zip": outer.getvalue()})
    fetch_dataset("oai-kl224", data_dir=tmp_path / "home", sources=[f"{server.url}/a.zip"], progress=False)
    assert verify_dataset("oai-kl224", data_dir=tmp_path / "home", require=("test",)).ok


@pytest.mark.parametrize(
    "name", ["../escaped.png", "/etc/escaped.png", "a/../../escaped.png", "..\\escaped.png", "C:/x.png"]
)
def test_an_archive_that_leads_outside_is_refused_whole(published, tmp_path, serve, name):
    server = serve({"/a.zip": zipped(published, extra=[(name, b"evil")])})
    with pytest.raises(KoaError, match="leads outside"):
        fetch_dataset("oai-kl224", data_dir=tmp_path / "home", sources=[f"{server.url}/a.zip"], progress=False)
    assert all_files(tmp_path / "home") == []
    assert not list(tmp_path.rglob("escaped.png"))


def test_an_altered_mirror_gives_nothing_and_is_named(published, tmp_path, serve):
    wrong = tmp_path / "wrong"
    for file in all_files(published):
        save(wrong / file, bright_knee(77))
    server = serve({"/a.zip": zipped(wrong)})
    with pytest.raises(KoaError, match=r"a\.zip: still lacks 30 file"):
        fetch_dataset("oai-kl224", data_dir=tmp_path / "home", sources=[f"{server.url}/a.zip"], progress=False)
    assert all_files(tmp_path / "home") == []


def test_a_source_that_fails_is_followed_by_the_next(published, tmp_path, serve):
    server = serve({"/broken.zip": b"no zip at all", "/good.zip": zipped(published)})
    sources = [f"{server.url}/{name}.zip" for name in ("absent", "broken", "good")]
    fetch_dataset("oai-kl224", data_dir=tmp_path / "home", sources=sources, progress=False)
    assert verify_dataset("oai-kl224", data_dir=tmp_path / "home", require=("train",)).ok


def test_when_every_source_fails_the_message_names_each_with_its_reason_and_the_way_by_hand(published, tmp_path, serve):
    server = serve({"/broken.zip": b"no zip at all"})
    closed = Server({})
    closed.server_close()
    sources = [f"{server.url}/absent.zip", f"{server.url}/broken.zip", f"{closed.url}/a.zip"]
    with pytest.raises(KoaError) as caught:
        fetch_dataset("oai-kl224", data_dir=tmp_path / "home", sources=sources, progress=False)
    message = str(caught.value)
    for part in (
        "404",
        "damaged or no zip",
        "No connection",
        *sources,
        "--archive",
        "{split}/{kl}/{patient}{side}.png",
    ):
        assert part in message
    assert "10.17632" in message or "56rmx5bjcr" in message
    assert all_files(tmp_path / "home") == []


def test_kaggle_is_not_asked_without_being_told_to(published, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    source = Source(kind="kaggle", at="someone/knees")
    with pytest.raises(KoaError, match="ask for it with --kaggle"):
        fetch_dataset("oai-kl224", data_dir=tmp_path, sources=[source])
    with pytest.raises(KoaError, match="kagglehub is not installed"):
        fetch_dataset("oai-kl224", data_dir=tmp_path, sources=[source], kaggle=True)


@pytest.mark.parametrize("unpacked", [True, False])
def test_a_zip_or_folder_downloaded_by_hand_is_taken_without_a_network(published, tmp_path, unpacked):
    given = published if unpacked else tmp_path / "by_hand.zip"
    if not unpacked:
        given.write_bytes(zipped(published, prefix="data/sample_xrays/"))
    fetch_dataset("oai-kl224", data_dir=tmp_path / "home", archive=given, progress=False)
    assert verify_dataset("oai-kl224", data_dir=tmp_path / "home", require=("train", "val", "test")).ok
    assert given.exists()


def test_a_gated_or_drawn_data_set_is_not_fetched(tmp_path):
    with pytest.raises(KoaError, match="Register at"):
        fetch_dataset("oai-followup", data_dir=tmp_path)
    with pytest.raises(KoaError, match="drawn by the kit"):
        fetch_dataset("phantom", data_dir=tmp_path)
