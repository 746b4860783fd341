"""Health scripts as people write them for Argo CD, in a child that can do nothing but answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tidegate.adapters.lua import Answer, Lua, Scripted
from tidegate.domain.health import Health, HealthStatus
from tidegate.domain.health.scripts import Script, Scripts


@pytest.fixture(scope="module")
def lua() -> Iterator[Lua]:
    made = Lua(seconds=0.3)
    yield made
    made.close()


def said(lua: Lua, text: str, **obj: Any) -> Answer:
    return lua.run(Script("health/db.example/Database/health.lua", text), obj)


def healthy(message: str) -> Answer:
    return Answer("Healthy", message)


@pytest.mark.parametrize(
    ("expression", "value", "text"),
    [
        ("obj.x", "ünï ☃ 𝄞", "ünï ☃ 𝄞"),
        ("tostring(obj.x)", 3, "3"),
        ("tostring(obj.x + 1)", 2147483648, "2147483649"),
        ("tostring(obj.x)", 0.5, "0.5"),
        ("tostring(obj.x)", True, "true"),
        ("tostring(obj.x)", None, "nil"),
        ("type(obj.x)", "2026-01-01T00:00:00Z", "string"),
        ("#obj.x .. obj.x[1] .. obj.x[2]", ["a", None, "b"], "2ab"),
        ("#obj.x .. tostring(next(obj.x))", [], "0nil"),
        ("#obj.x .. tostring(next(obj.x))", {}, "0nil"),
        ("tostring(obj.x.a.b[1].c)", {"a": {"b": [{"c": 1}]}}, "1"),
        ("tostring(obj.x.gone)", {"gone": None}, "nil"),
        ("string.sub(obj.x, 1, 1)", "é", "\ufffd"),
        ("tostring(obj.x)", "\ud800", "?"),
    ],
)
def test_values_arrive_as_in_argo_cd(lua: Lua, expression: str, value: Any, text: str) -> None:
    assert said(lua, f"return {{status='Healthy', message={expression}}}", x=value) == healthy(text)


INVALID = Answer(HealthStatus.Unknown, "Lua returned an invalid health status")


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("return {status = 'Degraded', message = 'no'}", Answer("Degraded", "no")),
        ("return {Status = 'Suspended', MESSAGE = 'x'}", Answer("Suspended", "x")),
        ("hs = {} hs.status = 'Missing' return hs", Answer("Missing")),
        ("return 1, {status = 'Healthy'}", Answer("Healthy")),
        ("", Answer("")),
        ("return nil", Answer("")),
        ("return {}", Answer("")),
        ("return {'Healthy'}", Answer("")),
        ("return {status = 'Healthy', message = 5}", Answer("")),
        ("return {status = 'Fine'}", INVALID),
        ("return {status = 'healthy'}", INVALID),
        ("return {message = 'x'}", INVALID),
    ],
)
def test_answers_are_read_as_argo_cd_reads_them(lua: Lua, script: str, answer: Answer) -> None:
    assert said(lua, script) == answer


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("return 'Healthy'", ": expect table output from Lua script, not string"),
        ("return true", ": expect table output from Lua script, not boolean"),
        ("\nx = = 1", ":2: unexpected symbol near '='"),
        ("\n\nreturn obj.status.phase", ":3: attempt to index field 'status' (a nil value)"),
        ("error('no way')", ":1: no way"),
        ("error({})", None),
        ("while true do end", ": ran for more than 0.3 s and was stopped"),
        (
            "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1e6) .. i end",
            ": needs more than 64 MiB of memory",
        ),
        ("local function f() return 1 + f() end return f()", ":1: stack overflow"),
    ],
)
def test_a_script_that_fails_says_where(lua: Lua, script: str, error: str | None) -> None:
    answer = said(lua, script)
    assert answer.status == "Unknown"
    assert answer.error.startswith(f"health/db.example/Database/health.lua{error or ':'}")
    assert "traceback" not in answer.error


def test_the_next_script_gets_its_answer_whatever_the_last_one_did(lua: Lua) -> None:
    for bad in ("while true do end", "string.rep = nil obj = nil type = nil x = 1", "error('x')"):
        said(lua, bad)
        assert said(lua, "return {status = 'Healthy', message = ('a'):rep(2) .. tostring(x)}") == healthy(
            "aanil"
        )


_LANGUAGE = "load loadstring loadfile dofile module getfenv setfenv collectgarbage newproxy string.dump"
_OUTSIDE = "io package debug ffi jit bit python os.execute os.exit os.getenv os.remove os.rename os.tmpname"


@pytest.mark.parametrize("name", [*_LANGUAGE.split(), *_OUTSIDE.split()])
def test_a_script_cannot_reach_out(lua: Lua, name: str) -> None:
    assert said(lua, f"return {{status = 'Healthy', message = type({name})}}") == healthy("nil")


def test_a_script_may_ask_for_the_libraries_argo_cd_gives_it(lua: Lua) -> None:
    script = """
        local os, t = require("os"), {}
        print("to nowhere")
        for i = 1, 3 do
          if i == 2 then goto continue end
          table.insert(t, i)
          ::continue::
        end
        return {status = 'Healthy', message = os.date("!%Y", 86400) .. table.concat(t) .. type(os.time())}
    """
    assert said(lua, script) == healthy("197013number")
    assert "module 'ffi' not found" in said(lua, "require('ffi')").error


def test_many_threads_share_one_child(lua: Lua) -> None:
    def ask(number: int) -> str:
        return said(lua, "return {status = 'Healthy', message = tostring(obj.x)}", x=number).message

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(100))) == [str(n) for n in range(100)]
    assert lua._child is not None


def test_a_child_that_was_killed_is_replaced(lua: Lua) -> None:
    said(lua, "return nil")
    assert lua._child is not None
    os.kill(lua._child.pid, signal.SIGKILL)
    assert "its process ended with -9" in said(lua, "return nil").error
    assert said(lua, "return nil") == Answer("")


def test_a_forked_process_starts_a_child_of_its_own() -> None:
    script = """
import os
from tidegate.adapters.lua import LUA
from tidegate.domain.health.scripts import Script
ask = lambda: LUA.run(Script("x", "return {status = 'Healthy'}"), {}).status
assert ask() == "Healthy"
mine = LUA._child.pid
if os.fork() == 0:
    assert LUA._child is None and ask() == "Healthy" and LUA._child.pid != mine
    raise SystemExit(0)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
assert ask() == "Healthy" and LUA._child.pid == mine
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_objects_own_kind_selects_the_script(lua: Lua) -> None:
    names = ("db.example/Database", "_.example/_", "_.example/Data_", "db.example/_", "Pod")
    scripts = Scripts({n: Script(n, f"return {{status='Healthy', message='{n}'}}") for n in names})
    scripted = Scripted(scripts, lua)

    def spoke(api: str, kind: str) -> str | None:
        found = scripted({"apiVersion": api, "kind": kind})
        return found.message if found else None

    assert spoke("db.example/v1", "Database") == "db.example/Database"
    assert spoke("db.example/v1", "Backup") == "_.example/_"
    assert spoke("x.y.example/v1", "Database") == "_.example/Data_"
    assert spoke("v1", "Pod") == "Pod"
    assert spoke("v1", "ConfigMap") is None
    assert spoke("example/v1", "Database") is None


def test_a_script_that_says_nothing_is_waited_for(lua: Lua) -> None:
    scripted = Scripted(Scripts({"Pod": Script("health/Pod/health.lua", "return {}")}), lua)
    assert scripted({"apiVersion": "v1", "kind": "Pod"}) == Health(
        HealthStatus.Progressing, "health/Pod/health.lua says nothing yet"
    )


def test_this_process_never_loads_luajit() -> None:
    code = "import sys, tidegate.adapters.lua; sys.exit(any(m.startswith('lupa') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
