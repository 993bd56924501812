"""
The connections to Redis or Valkey: made from a URL or given, each step within its deadline, errors in words of ours.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeVar
from urllib.parse import SplitResult, urlencode, urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ...errors import AmountError, ConfigError, StoreError
from ..deadlines import CHANGE_S, READ_S, Deadlines, take_deadlines
from ..remote import Breaker
from .errors import is_a, of_driver, told

pack: Callable[[tuple[Any, ...]], bytes] | None
try:
    from hiredis import pack_command as pack
except ImportError:  # a redis-py without its extra packs by itself
    pack = None

T = TypeVar("T")

MOST_CONNECTIONS = 256
"""Of a process, for each kind of step; a thread takes one while it waits for an answer."""

MOST_REPLICAS = 100

WAIT_PART = 0.8
"""The part of a step's time that replicas have."""

_SCHEMES = {"valkey": "redis", "valkeys": "rediss"}


class Clients(NamedTuple):
    """One client for each deadline."""

    reserve: Any
    settle: Any
    change: Any
    read: Any
    name: str
    """The engine and where it is, without any secret."""
    home: str | None
    """What tells it from all others, for the name of the journal's directory; `None`: that is not known."""
    again: Callable[[], Clients] | None = None
    """Makes them anew, for a forked child; `None` for a client that was given, which is its owner's."""
    replicas: int = 0
    """How many replicas must have a hold, or a settlement, before it counts as done."""


_REFUSED = {
    "socket_timeout": "give reserve_s= and settle_s= instead",
    "socket_connect_timeout": "give reserve_s= and settle_s= instead",
    "decode_responses": "names may be any bytes",
}
"""Options of redis-py that a URL cannot have, and why."""


def from_url(url: str, otherwise: Deadlines) -> tuple[Clients, Deadlines, bool]:
    """The clients of a URL, their deadlines, and whether it asks for strict checks; connects to nothing."""
    parts, where = _parts(url)
    deadlines, more = take_deadlines(parts.query, otherwise)
    options = dict(more)
    strict = options.pop("strict", "0")
    if strict not in {"0", "1"}:
        raise ConfigError(f"store: strict={strict} is neither 0 nor 1")
    replicas = options.pop("wait_replicas", "0")
    if not replicas.isdecimal() or int(replicas) > MOST_REPLICAS:
        raise ConfigError(f"store: wait_replicas={replicas} is no number of replicas, from 0 to {MOST_REPLICAS}")
    for option in options.keys() & _REFUSED.keys():
        raise ConfigError(f"store: {option}= has no place in a URL: {_REFUSED[option]}")
    scheme = _SCHEMES.get(parts.scheme, parts.scheme)
    plain = urlunsplit((scheme, parts.netloc, parts.path, urlencode(options), ""))
    try:
        made = _clients(plain, f"{parts.scheme}://{where}", *deadlines, int(replicas))
    except (ValueError, TypeError, redis.RedisError):
        raise ConfigError(
            f"store: an option of the {parts.scheme}:// URL is unknown, or cannot have its value: "
            f"{', '.join(sorted(options))}; write {parts.scheme}://host:6379/0"
        ) from None
    return made, deadlines, strict == "1"


def _parts(url: str) -> tuple[SplitResult, str]:
    """The parts of a URL, and the address in it. No part is told in an error: any may be one of a password."""
    scheme = url.partition(":")[0].lower()
    try:
        parts = urlsplit(url)
        where = f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
        split = "@" in f"{parts.path}{parts.query}{parts.fragment}"
    except ValueError:
        split = True
    if split:
        raise ConfigError(
            f"store: this is no {scheme}:// URL, such as {scheme}://:password@host:6379/0; write characters of the "
            "password, and of options, that are no letters or digits as %XX"
        ) from None
    database = parts.path.strip("/") or "0"
    if not database.isdecimal():
        raise ConfigError(f"store: the database of a {scheme}:// URL is a number: write {scheme}://host:6379/0")
    return parts, f"{where}/{database}"


def _clients(url: str, name: str, reserve_s: float, settle_s: float, replicas: int) -> Clients:
    reserve, settle, change, read = [_client(url, seconds) for seconds in (reserve_s, settle_s, CHANGE_S, READ_S)]
    again = partial(_clients, url, name, reserve_s, settle_s, replicas)
    return Clients(reserve, settle, change, read, name, name, again, replicas)


class Packer:
    """Packs commands as redis-py does with hiredis, but does not look at every argument: ours are plain."""

    def pack(self, name: str, *args: Any) -> list[bytes]:
        """The bytes of a command, whose name may be two words."""
        assert pack is not None
        return [pack((*name.encode().split(), *args))]


def _client(url: str, seconds: float) -> Any:
    pool = redis.ConnectionPool.from_url(
        url,
        max_connections=MOST_CONNECTIONS,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        decode_responses=False,
        command_packer=None if pack is None else Packer(),
    )
    pool.connection_class(**pool.connection_kwargs)  # an option that it does not know is told here
    return redis.Redis(connection_pool=pool)


def given(client: Any) -> Clients:
    """A ready client for all steps; raises `ConfigError` for one that cannot be used."""
    execute = getattr(client, "execute_command", None)
    if not callable(execute):
        raise ConfigError(f"store={type(client).__name__}: a redis.Redis or redis.RedisCluster client is needed")
    if inspect.iscoroutinefunction(execute) or ".asyncio" in type(client).__module__:
        raise ConfigError(
            "store: this client is an asynchronous one; give the synchronous one (redis.Redis): the calls of an async "
            "program are made in threads, so that its loop is never kept waiting"
        )
    if _decodes(client):
        raise ConfigError("store: this client has decode_responses=True; give one without: names may be any bytes")
    return Clients(client, client, client, client, _name_of(client), _home_of(client))


def _decodes(client: Any) -> bool:
    pool = getattr(client, "connection_pool", None)
    options = getattr(pool, "connection_kwargs", None) or getattr(client, "cluster_kwargs", None) or {}
    return bool(options.get("decode_responses", False))


def _name_of(client: Any) -> str:
    pool = getattr(client, "connection_pool", None)
    options = getattr(pool, "connection_kwargs", {})
    service = getattr(pool, "service_name", None)
    if service is not None:
        return f"redis service {service}"
    return _address(options) or f"redis ({type(client).__name__})"


def _home_of(client: Any) -> str | None:
    """Services and clusters go by the addresses of all that was named to find them."""
    pool: Any = getattr(client, "connection_pool", None)
    options = getattr(pool, "connection_kwargs", {})
    sentinels = getattr(getattr(pool, "sentinel_manager", None), "sentinels", None)
    if sentinels:
        found = [str(_address(each.connection_pool.connection_kwargs)) for each in sentinels]
        return f"redis service {pool.service_name}/{options.get('db', 0)} of {' '.join(sorted(found))}"
    nodes = getattr(getattr(client, "nodes_manager", None), "startup_nodes", None)
    if nodes:
        return f"redis cluster of {' '.join(sorted(nodes))}"
    return _address(options)


def _address(options: Mapping[str, Any]) -> str | None:
    if "path" in options:
        return f"redis at {options['path']}/{options.get('db', 0)}"
    if "host" in options:
        return f"redis://{options['host']}:{options.get('port', 6379)}/{options.get('db', 0)}"
    return None


class RedisLink:
    """Runs steps on clients: through the breaker, and with every error of the driver as a `StoreError`."""

    def __init__(self, clients: Clients) -> None:
        self.name = clients.name
        self.breaker = Breaker(clients.name)
        self.doubtful = False
        """Whether a step failed since the server was last known to be the same."""
        self.turned_away = 0
        """How often a server said that it is no place for steps: a connection from before that is of no use."""
        self._clients = clients

    def run(self, step: Callable[..., T], *args: Any) -> T:
        """Run a step; raises `StoreError`."""
        result = self.attempt(step, *args)
        self.answered()
        return result

    def attempt(self, step: Callable[..., T], *args: Any) -> T:
        """Run a step whose answer has to be looked at before it is `answered`; raises `StoreError`."""
        if self.breaker.failures:
            self.breaker.enter()
        try:
            return step(*args)
        except OSError as error:
            self.breaker.failed(error)
            self.doubtful = True
            raise StoreError(
                f"{self.name} cannot be reached ({error}): is it running, and reachable from here?"
            ) from error
        except Exception as error:
            if not of_driver(error):
                raise
            self.answered(error)
            raise self.failure(error) from error

    def answered(self, error: Exception | None = None) -> None:
        """Take in that the server did a step, or what it said instead."""
        if error is None:
            if self.breaker.failures:
                self.breaker.passed()
        elif told(error)[1]:
            self.breaker.failed(error)
            self.doubtful = True
            if is_a(error, "ResponseError"):
                self.leave()

    def failure(self, error: Exception) -> StoreError:
        """The error of ours that says what a driver's error means."""
        if str(error).startswith("AMOUNT"):
            return AmountError(f"{self.name}: {str(error).removeprefix('AMOUNT ')}")
        return StoreError(f"{self.name}: {error}; {told(error)[0]}")

    def leave(self) -> None:
        """Connect anew from here on: the name may lead to another server by now, such as one that was promoted."""
        self.turned_away += 1
        for client in self._clients[:4]:
            pool = getattr(client, "connection_pool", None)
            if pool is not None:  # a cluster's client finds its nodes by itself
                _disconnect(pool)


def confirmation(prefix: bytes, replicas: int, timeout_s: float) -> list[tuple[Any, ...]]:
    """
    Commands whose last answer says how many replicas have all that was written before.

    WAIT goes by what its own connection wrote last, so that has to write: a repetition may have changed nothing.
    """
    return [("SET", prefix + b"w", b"1"), ("WAIT", replicas, max(1, int(WAIT_PART * 1000 * timeout_s)))]


def require_replicas(name: str, acknowledged: Any, replicas: int) -> None:
    """Raise `StoreError` if fewer replicas than asked for have what was done."""
    if not isinstance(acknowledged, int):
        raise StoreError(f"{name}: {acknowledged}; wait_replicas= needs the command WAIT: let this user run it")
    if acknowledged < replicas:
        raise StoreError(
            f"{name}: only {acknowledged} of {replicas} replicas have it in time (wait_replicas={replicas}): look at "
            "the server's replication"
        )


def _disconnect(pool: Any) -> None:
    """Close the connections of a pool that nobody is using, or all, if it knows no difference."""
    try:
        pool.disconnect(False)  # by its place: this has several names
    except TypeError:
        pool.disconnect()
