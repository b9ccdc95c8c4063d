"""Commands that talk to the network: what they fetch, delete over an API, or let in."""

from __future__ import annotations

import re

from security.shell import dangers
from security.shell.call import Call, Options, sort_options
from security.shell.handlers import handles
from security.shell.marks import REMOTE, SESSION
from security.shell.names import names
from security.shell.walker import Walker

_CURL = names(
    "-X -o -d -H -u -A -e -F -b -c -T -m -x -K -w -E -r -y -Y -z -C -Q -t -P --request --output --data --data-raw"
    " --data-binary --data-urlencode --header --user --user-agent --form --cookie --cookie-jar --upload-file --max-time"
    " --connect-timeout --retry --retry-delay --proxy --config --write-out --cert --key --cacert --range --url --json"
    " --output-dir --method --body-data --post-data --post-file --output-document -O --directory-prefix -t"
)
_FETCHERS = {"curl": _CURL - {"-O", "-t", "-P"}, "wget": _CURL - {"-d", "-c", "-r", "-H", "-x", "-F", "-K", "-p"}}
_POSTED = re.compile(
    r"/(?:_delete_by_query|_close|dodelete|delete-batch|delete_by_\w+|documents/delete|clear|purge\w*|flush\w*|destroy|"
    r"truncate|wipe|drop|terminate|cancel|delete|delete_series|clean_tombstones)(?:[/?]|$)",
    re.IGNORECASE,
)
_WIPED = re.compile(r'"(?:delete|deleteIndex|remove_index|delete_by_query|op"\s*:\s*"delete)"', re.IGNORECASE)
_NAMES_GONE = re.compile(r"^\s*(?:update\s+)?del(?:ete)?\b", re.MULTILINE | re.IGNORECASE)
_SERVERS_GONE = re.compile(
    r"^\s*(?:disable|shutdown|del|clear)\s+(?:server|frontend|sessions?|backend|table|ssl|acl|map)\b|\bmaint\b"
)
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


@handles("curl", "wget", "curlie")
def _fetch(walker: Walker, call: Call) -> str:
    options = sort_options(call.words, _FETCHERS.get(call.name, _CURL))
    method = options.values.get("-X", options.values.get("--request", options.values.get("--method", ""))).upper()
    urls = [*options.operands, options.values.get("--url", "")]
    bodies = [
        value
        for flag, value in options.values.items()
        if flag.startswith(("-d", "--data", "--json", "--body", "--post"))
    ]
    if not options.any("--help"):
        _judge_request(walker, call.name, method or ("POST" if bodies else "GET"), urls, bodies)
    for word in bodies + [
        value for flag, value in options.values.items() if flag in {"-F", "-T", "--form", "--upload-file"}
    ]:
        walker.note("<", word.rpartition("@")[2])
    return _stored(walker, call, options, urls)


def _stored(walker: Walker, call: Call, options: Options, urls: list[str]) -> str:
    """Note what is fetched into which file; gives what goes to the pipe."""
    flags = ("-o", "--output") if call.name == "curl" else ("-O", "--output-document")
    path = next((options.values[flag] for flag in flags if flag in options.values), "")
    named = options.any("-O", "--remote-name", "-J") if call.name == "curl" else not path
    if not path and named:
        path = urls[0].partition("?")[0].rpartition("/")[2]
    if not path or path in {"-", "/dev/stdout"}:
        return REMOTE
    walker.note(">", path)
    walker.write(path, REMOTE)
    return ""


def _judge_request(walker: Walker, command: str, method: str, urls: list[str], bodies: list[str]) -> None:
    posts = method not in {"GET", "HEAD", "OPTIONS"}
    if method == "DELETE" or (posts and (any(map(_POSTED.search, urls)) or any(map(_WIPED.search, bodies)))):
        walker.report(dangers.HTTP_DELETE, command)


@handles("http", "https", "xh", "xhs", "httpie")
def _httpie(walker: Walker, call: Call) -> str:
    operands = sort_options(call.words, frozenset({"-a", "--auth", "-A", "-o", "--session", "-f"})).operands
    method = next((word.upper() for word in operands[:1] if word.upper() in _METHODS), "GET")
    _judge_request(walker, call.name, method, operands, [])
    return REMOTE


@handles(
    "fetch", "aria2c", "axel", "lynx", "w3m", "links", "lwp-request", "lwp-download", "ftp", "tftp", "scp_get", "hget"
)
def _download(walker: Walker, call: Call) -> str:
    return REMOTE


@handles("nc", "ncat", "netcat", "nc.traditional", "nc.openbsd", "telnet", "cryptcat")
def _pipe(walker: Walker, call: Call) -> str:
    options = sort_options(
        call.words, frozenset({"-e", "-c", "--exec", "--sh-exec", "-p", "-s", "-w", "-q", "-i", "-X", "-x"})
    )
    if options.any("-e", "--exec", "--sh-exec", "-c"):
        walker.report(dangers.REMOTE_SHELL, call.name)
    if SESSION in (call.stdin or ""):
        walker.report(dangers.REMOTE_SHELL, call.name)
    return REMOTE


@handles("nsupdate")
def _update_names(walker: Walker, call: Call) -> str:
    if _NAMES_GONE.search(call.stdin or ""):
        walker.report(dangers.STORE_WIPE, call.name)
    return ""


@handles("socat")
def _socat(walker: Walker, call: Call) -> str:
    if _SERVERS_GONE.search(call.stdin or ""):
        walker.report(dangers.SERVER_OFF, call.name)
    kinds = {word.partition(":")[0].lower() for word in call.words}
    if kinds & {"exec", "system", "shell"} and any(
        kind.startswith(("tcp", "udp", "openssl", "ssl", "sctp")) for kind in kinds
    ):
        walker.report(dangers.REMOTE_SHELL, call.name)
    for word in call.words:
        kind, _, command = word.partition(":")
        if kind.lower() in {"exec", "system", "shell"}:
            walker.script(command.partition(",")[0].strip("'\""))
    return REMOTE
