"""Provisioning, as far as it can be tried without a machine of its own; the rest: make deb-test."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT

SCRIPT = ROOT / "deploy" / "provision.sh"


def provision(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(SCRIPT), *arguments], capture_output=True, text=True, check=False, timeout=30
    )


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "config.toml"
    file.write_text('device = "glasses-7"\n')
    return str(file)


def test_a_dry_run_says_what_it_would_do_and_does_nothing(config: str, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir()), Path("/etc/familiar").exists()
    options = ("--dry-run", "--config", config, "--allow", "192.0.2.7", "--seal")
    first, second = provision(*options), provision(*options)
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert "would do:  the configuration" in first.stdout
    for key in ("store.key", "device.key"):
        assert f"would do:  seal {key}" in first.stdout
    assert "done:" not in first.stdout
    assert (sorted(tmp_path.iterdir()), Path("/etc/familiar").exists()) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "name the device's configuration"),
        (("--config", "missing.toml"), "no such file"),
        (("--config",), "needs a value"),
        (("--frobnicate",), "unknown option --frobnicate"),
        (("--config", "CONFIG", "--url", "https://x"), "--url needs --root"),
        (("--config", "CONFIG", "--certificates", "/nonexistent"), "holds no ca.crt"),
        (("--config", "CONFIG", "--allow", "any"), "give one address"),
        (("--config", "CONFIG", "--allow", "0.0.0.0/0"), "give one address"),
        (("--config", "CONFIG", "--allow", "::/0"), "give one address"),
        (("--config", "CONFIG", "--allow", "fe80::/"), "give one address"),
        (("--config", "CONFIG", "--allow", "host.example/8"), "give one address"),
        (("--config", "CONFIG", "--allow", "-s"), "give one address"),
        (("--config", "CONFIG", "--allow", "nobody.invalid"), "this host is not found"),
        (("--config", "CONFIG", "--seal", "--certificates", "CERTIFICATES"), "key_file"),
        (("--config", "CONFIG", "--allow", "1.2.3.4\nExecStart=/bin/sh"), "give one address"),
    ],
)
def test_what_is_wrong_is_one_line(
    config: str, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    for name in ("ca.crt", "client.crt", "client.key"):
        (certificates / name).touch()
    named = {"CONFIG": config, "CERTIFICATES": str(certificates)}
    done = provision("--dry-run", *(named.get(word, word) for word in options))
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.startswith("familiar-provision: ")


def test_help_teaches() -> None:
    done = provision("--help")
    assert done.returncode == 0
    assert "--dry-run" in done.stdout


def test_the_package_holds_every_unit_of_a_device() -> None:
    build = (ROOT / "deploy" / "deb" / "build.sh").read_text("utf-8")
    of_backends = {"familiar-backend.service", "familiar-backend-page.service",
                   "familiar-overview.service"}  # fmt: skip
    units = {path.name for path in (ROOT / "systemd").iterdir()} - of_backends
    assert all(unit in build for unit in units)
