"""The child that runs health scripts: an object and a script in, a status and a message out, nothing else.

Run as a file by `tidegate.adapters.lua` (`python -I -S lua_child.py FOLDER_OF_LUPA SECONDS MEMORY`); one JSON
object a line on both pipes. Each script gets a fresh LuaJIT with Lua's own functions and the global `obj`, as in
Argo CD: of `os` only `time` and `date`, no `io`, `package`, `debug`, `ffi`, `jit`, no loading of code. LuaJIT
cannot be interrupted, so the kernel ends this process when a script uses up its time; whoever asked starts
another. It cannot open files either: the limit on open ones is taken to zero before the first script.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from itertools import islice
from typing import Any

_PRELUDE = b"""
local keep = {}
for name in ([[_G _VERSION assert error getmetatable ipairs next pairs pcall rawequal rawget rawset select
  setmetatable tonumber tostring type unpack xpcall string table math coroutine]]):gmatch("%S+") do
  keep[name] = true
end
local clock = {time = os.time, date = os.date}
for name in pairs(_G) do
  if not keep[name] then _G[name] = nil end
end
string.dump = nil
os = clock
print = function() end
local modules = {os = clock, string = string, table = table, math = math}
require = function(name)
  return modules[name] or error("module '" .. tostring(name) .. "' not found", 2)
end
"""
_PROCESS_MEMORY = 128 * 2**20
_CHUNK = b"=health.lua"
_MESSAGE, _FIELDS = 16_000, 1_000
_NOTHING: dict[str, Any] = {"status": None, "message": ""}


def _confine(memory: int) -> None:
    for kind, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_DATA, memory + _PROCESS_MEMORY),
    ):
        resource.setrlimit(kind, (value, value))


def _lua(value: Any, runtime: Any) -> Any:
    """JSON as gopher-lua has it: every number a float, a null in an array left out, in a map no key."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    if isinstance(value, (bool, float)) or value is None:
        return value
    if isinstance(value, int):
        return float(value)
    if isinstance(value, list):
        return runtime.table_from([_lua(v, runtime) for v in value if v is not None])
    return runtime.table_from({_lua(k, runtime): _lua(v, runtime) for k, v in value.items() if v is not None})


def _run(luajit: Any, asked: dict[str, Any], seconds: float, memory: int) -> dict[str, Any]:
    def deny(*_: object) -> None:
        raise AttributeError("not here")

    runtime = luajit.LuaRuntime(
        encoding=None,
        register_eval=False,
        register_builtins=False,
        attribute_filter=deny,
        max_memory=memory,
    )
    runtime.execute(_PRELUDE)
    runtime.globals()[b"obj"] = _lua(asked["obj"], runtime)
    signal.setitimer(signal.ITIMER_PROF, seconds)  # its default action ends the process, whatever Lua does
    try:
        answer = runtime.compile(asked["text"].encode("utf-8", "replace"), name=_CHUNK)()
        if isinstance(answer, tuple):
            answer = answer[-1] if answer else None
        if answer is None:
            return _NOTHING
        if luajit.lua_type(answer) != "table":
            return {"error": f"expect table output from Lua script, not {_kind(answer)}"}
        return _answer(dict(islice(answer.items(), _FIELDS)))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _answer(table: dict[Any, Any]) -> dict[str, Any]:
    """What Go's JSON makes of it: keys in any case; an array, or a field that is no text, is an empty answer."""
    found = {"status": "", "message": ""}
    if not table or not all(isinstance(key, bytes) for key in table):
        return _NOTHING
    for key, value in sorted((_text(k), v) for k, v in table.items() if _text(k).lower() in found):
        if not isinstance(value, bytes):
            return _NOTHING
        found[key.lower()] = _text(value)
    return dict(found)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")[:_MESSAGE]


def _kind(value: Any) -> str:
    return {bool: "boolean", bytes: "string", int: "number", float: "number"}.get(type(value), "function")


def _words(error: BaseException) -> str:
    """The error without the stack trace that only the script's author would read."""
    said = error.args[0] if error.args else ""
    text = _text(said) if isinstance(said, bytes) else str(said)
    return text.partition("\nstack traceback:")[0]


def main(folder: str, seconds: float, memory: int) -> None:
    """Answers until its input ends."""
    sys.path.append(folder)
    import lupa.luajit21 as luajit

    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    _confine(memory)
    for line in source:
        try:
            said = _run(luajit, json.loads(line), seconds, memory)
        except luajit.LuaMemoryError:
            said = {"error": f"needs more than {memory // 2**20} MiB of memory"}
        except luajit.LuaError as error:
            said = {"error": _words(error)}
        except Exception as error:  # whatever a script does, the next one gets its answer
            said = {"error": f"{type(error).__name__}: {error}"}
        sink.write(json.dumps(said).encode() + b"\n")
        sink.flush()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
