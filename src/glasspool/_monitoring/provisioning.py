"""The dashboards and rules that come with glasspool: lists them, writes them to files, pushes them to Grafana.

Only the standard library is used, so the commands work in any environment that has glasspool.
"""

from __future__ import annotations

import json
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn, cast
from urllib.parse import urlsplit

from glasspool.errors import GlasspoolError

from . import RuleOptions, retouched, rule_files

__all__ = ["Dashboard", "ProvisioningError", "adapted", "choose", "dashboards", "export", "push", "rules"]

_PREFIX = "glasspool-"


class ProvisioningError(GlasspoolError):
    """Dashboards or rules could not be delivered. The message says why, what was written, and what to do."""


@dataclass(frozen=True)
class Dashboard:
    """One dashboard as shipped: its uid, title and description, and the JSON text of Grafana's model."""

    uid: str
    title: str
    description: str
    text: str

    @property
    def file_name(self) -> str:
        """The name under which it is exported."""
        return f"{self.uid}.json"


def dashboards() -> tuple[Dashboard, ...]:
    """All dashboards in this version, by uid."""
    found: list[Dashboard] = []
    for name, text in sorted(_assets("dashboards", ".json").items()):
        model = json.loads(text)
        found.append(Dashboard(name.removesuffix(".json"), model["title"], model["description"], text))
    return tuple(found)


def rules(options: RuleOptions | None = None) -> dict[str, str]:
    """File name to content of the recording rules and alerts, with these options (default: the shipped ones)."""
    return rule_files(RuleOptions() if options is None else options)


def adapted(dashboard: Dashboard, options: RuleOptions, traces: str) -> Dashboard:
    """The dashboard with the thresholds of these options, leading to this kind of trace data source.

    Raises OptionError for an unknown kind.
    """
    places = json.loads((resources.files("glasspool") / "assets" / "thresholds.json").read_text(encoding="utf-8"))
    text = retouched(dashboard.text, places.get(dashboard.uid, {}), options.lines(), traces)
    return replace(dashboard, text=text)


def choose(names: Iterable[str]) -> tuple[Dashboard, ...]:
    """The dashboards with these names: uids, with or without ``glasspool-``; all if none is given.

    Raises ProvisioningError for an unknown name.
    """
    known = {dashboard.uid: dashboard for dashboard in dashboards()}
    wanted = list(names)
    chosen: list[Dashboard] = []
    for name in wanted:
        uid = name if name in known else _PREFIX + name
        if uid not in known:
            raise ProvisioningError(f"there is no dashboard {name!r}; there are: {', '.join(known)}")
        chosen.append(known[uid])
    return tuple(chosen) if wanted else tuple(known.values())


def export(files: Mapping[str, str], directory: Path) -> list[Path]:
    """Write files into a directory, which is made if missing, and return their paths.

    All or nothing: contents are written beside their targets first and moved into place when all of them are there.
    Raises ProvisioningError when the directory cannot be used.
    """
    prepared: list[tuple[Path, Path]] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            target = directory / name
            if target.is_dir():
                raise IsADirectoryError(f"{target} is a directory")
            handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=directory)
            prepared.append((Path(temporary), target))
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(temporary, 0o644)  # mkstemp: only the owner; Grafana and Prometheus run as others
        for temporary_path, target in prepared:
            temporary_path.replace(target)
    except OSError as error:
        for temporary_path, _ in prepared:
            temporary_path.unlink(missing_ok=True)
        raise ProvisioningError(
            f"cannot write to directory '{directory}': {error}. Nothing was written; choose a directory that you may"
            " write to."
        ) from error
    return [target for _, target in prepared]


def push(
    chosen: Iterable[Dashboard], url: str, token: str | None, *, folder: str = "Glasspool", timeout: float = 10.0
) -> list[str]:
    """Create or update dashboards in a folder of a running Grafana, by uid; again gives the same state.

    ``token`` is a service account token that may write folders and dashboards (None: no authentication);
    ``timeout`` is in seconds, for each request. Returns the dashboards' addresses. Raises ProvisioningError when
    Grafana cannot be reached or refuses; the message names the dashboards that were written before.
    """
    grafana = _Grafana(url, token, timeout)
    folder_uid = grafana.folder(folder)
    written: list[Dashboard] = []
    addresses: list[str] = []
    for dashboard in chosen:
        try:
            addresses.append(grafana.save(dashboard, folder_uid))
        except ProvisioningError as error:
            done = ", ".join(each.uid for each in written) or "none"
            raise ProvisioningError(
                f"dashboard '{dashboard.uid}' was not written: {error} Written before: {done}."
            ) from error
        written.append(dashboard)
    return addresses


def _assets(kind: str, suffix: str) -> dict[str, str]:
    directory = resources.files("glasspool") / "assets" / kind
    return {
        entry.name: entry.read_text(encoding="utf-8") for entry in directory.iterdir() if entry.name.endswith(suffix)
    }


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Reports redirects instead of following them: a redirected POST would become a GET and send the token along."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


class _Grafana:
    """The calls of Grafana's HTTP API that pushing needs."""

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ProvisioningError(
                f"'{url}' is no address of a Grafana; write one such as https://grafana.example.org"
            )
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if token:
            token = token.strip()
            if not (token.isascii() and token.isprintable()):
                raise ProvisioningError("GRAFANA_TOKEN holds characters that no token has; copy it again, on one line")
            self._headers["Authorization"] = f"Bearer {token}"
        self._opener = urllib.request.build_opener(_NoRedirect)

    def folder(self, title: str) -> str:
        """Uid of the folder, which is made if it does not exist."""
        uid = "-".join("".join(char if char.isalnum() else " " for char in title.lower()).split())
        if not uid:
            raise ProvisioningError(f"folder {title!r}: give it a name with letters or digits")
        if self._call("GET", f"/api/folders/{uid}", absent=(404,)) == {}:
            # Another push may have made it meanwhile.
            self._call("POST", "/api/folders", {"uid": uid, "title": title}, absent=(409, 412))
        return uid

    def save(self, dashboard: Dashboard, folder_uid: str) -> str:
        """Create or overwrite one dashboard and return its address."""
        body = {
            "dashboard": {**json.loads(dashboard.text), "id": None},
            "folderUid": folder_uid,
            "overwrite": True,
            "message": "glasspool dashboards push",
        }
        answer = self._call("POST", "/api/dashboards/db", body)
        return self._url + str(answer.get("url", f"/d/{dashboard.uid}"))

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, absent: tuple[int, ...] = ()
    ) -> dict[str, Any]:
        """The answer; empty for a status that counts as absence."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, self._headers, method=method)  # noqa: S310 - scheme checked above
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            with error:
                if error.code in absent:
                    return {}
                self._refused(error)
        except (TimeoutError, urllib.error.URLError, OSError) as error:
            if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
                raise ProvisioningError(
                    f"Grafana at {self._url} did not answer within {self._timeout:g} s; try a longer --timeout."
                ) from error
            reason = getattr(error, "reason", error)
            raise ProvisioningError(f"cannot reach Grafana at {self._url}: {reason}. Check the address.") from error
        answer: Any
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ProvisioningError(
                f"{self._url}{path} did not answer as Grafana does; is this its address, path prefix included?"
            )
        return cast("dict[str, Any]", answer)

    def _refused(self, error: urllib.error.HTTPError) -> NoReturn:
        said = error.read(2000).decode(errors="replace")
        try:
            said = str(json.loads(said).get("message", said))
        except (ValueError, AttributeError):
            said = said.strip()[:200]
        advice = {
            401: "The token is missing, wrong or expired: put a valid service account token into GRAFANA_TOKEN.",
            403: "The token lacks rights: its service account needs folders:create and dashboards:write (role Editor).",
            404: "Check the address, path prefix included.",
            412: "Another dashboard of that name or an installed plugin is in the way: rename or remove it.",
        }.get(error.code, "See Grafana's log.")
        if error.code in (301, 302, 303, 307, 308):
            said, advice = f"it moved to {error.headers.get('Location')}", "Give that address to --grafana."
        raise ProvisioningError(f"Grafana at {self._url} refused with {error.code}: {said}. {advice}") from error
