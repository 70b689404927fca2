"""roomkey-cc makes an image of anybody's app, wherever it is installed, and says in one line what is wrong."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

BUILD = Path(os.environ["ROOMKEY_BUILD"])
APP = """
#include <roomkey/app.h>
static void serve(struct rk_request *req) { rk_reply(req, 200, "text/plain", "hello\\n", 6); }
ROOMKEY_APP(NAME, VERSION, .on_request = serve);
"""


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "a folder"
    place.mkdir()
    (place / "app.c").write_text('#define NAME "greeter"\n#define VERSION "1.2.3-rc1"\n' + APP)
    return place


def cc(folder, *args, tool=BUILD / "bin/roomkey-cc"):
    return subprocess.run([tool, *args], cwd=folder, capture_output=True, text=True, timeout=60)


def refused(folder, *args, says):
    done = cc(folder, *args)
    assert done.returncode == 1, done
    last = done.stderr.splitlines()[-1]
    assert last.startswith("roomkey-cc: ") and last.count("; ") >= 1, done.stderr
    assert says in done.stderr
    assert sorted(p.name for p in folder.iterdir() if ".img" in p.name) == [], "it left something"


def test_an_image_is_made_and_tells_its_name(folder):
    done = cc(folder, "app.c", "-o", "the app.img")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert cc(folder, "--show-manifest", "the app.img").stdout == "greeter:1.2.3-rc1\n"


def test_it_works_from_where_it_is_installed(folder, tmp_path):
    prefix = tmp_path / "usr local"
    (prefix / "bin").mkdir(parents=True)
    shutil.copy2(BUILD / "bin/roomkey-cc", prefix / "bin")
    shutil.copytree(BUILD / "lib/roomkey", prefix / "lib/roomkey")
    (tmp_path / "roomkey-cc").symlink_to(prefix / "bin/roomkey-cc")
    assert cc(folder, "app.c", "-oapp.img", tool=tmp_path / "roomkey-cc").returncode == 0


def test_options_and_more_files_reach_gcc(folder):
    (folder / "more.c").write_text('int more(void) { return ANSWER; }\n')
    (folder / "app.c").write_text('#define NAME "n"\n#define VERSION "1"\nint more(void);\n' + APP
                                  + "int (*use)(void) = more;\n")
    assert cc(folder, "app.c", "more.c", "-DANSWER=42", "-O3", "-I", ".", "-o", "app.img").returncode == 0


def test_the_image_is_an_executable_for_linux(folder):
    cc(folder, "app.c", "-o", "app.img")
    done = subprocess.run([folder / "app.img"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 64 and done.stderr


def test_a_program_that_is_no_app_is_refused(folder):
    (folder / "app.c").write_text("int main(void) { return 0; }\n")
    refused(folder, "app.c", "-o", "app.img", says="the app has no ROOMKEY_APP(name, version, ...)")


def test_what_does_not_compile_is_refused(folder):
    (folder / "app.c").write_text("this is not C\n")
    refused(folder, "app.c", "-o", "app.img", says="gcc says why above")


@pytest.mark.parametrize("option", ["-Wl,-pie", "-Wl,-shared"])
def test_what_is_not_at_a_fixed_address_is_refused(folder, option):
    refused(folder, "app.c", option, "-o", "app.img", says="app.img")


@pytest.mark.parametrize(
    "line, says",
    {
        '#define NAME "Greeter"': "its name 'Greeter' is not of a-z, 0-9 and -",
        '#define NAME ""': "its name '' is not of",
        '#define VERSION "1 0"': "its version '1 0' is not of",
    }.items(),
)
def test_a_name_that_image_add_would_refuse_is_refused(folder, line, says):
    rest = '#ifndef NAME\n#define NAME "n"\n#endif\n#ifndef VERSION\n#define VERSION "1"\n#endif\n'
    (folder / "app.c").write_text(line + "\n" + rest + APP)
    refused(folder, "app.c", "-o", "app.img", says=says)


def test_a_failure_leaves_the_old_image_alone(folder):
    (folder / "app.img").write_text("old")
    (folder / "app.c").write_text("this is not C\n")
    assert cc(folder, "app.c", "-o", "app.img").returncode == 1
    assert (folder / "app.img").read_text() == "old"


@pytest.mark.parametrize("args", [(), ("app.c",), ("-o", "app.img"), ("app.c", "-o"), ("-c", "app.c", "-o", "x")])
def test_misuse_is_exit_2(folder, args):
    done = cc(folder, *args)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "--help" in done.stderr


def test_help_shows_the_usage(folder):
    done = cc(folder, "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: roomkey-cc ")
