"""BearerAuth for the clients of httpx and of httpx2: one implementation, since both have one API under two names."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Generator, Hashable, Iterable, Sequence
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from evertoken import ClientCredentials, Policy
from evertoken._checks import check_type
from evertoken._secrecy import Hidden, Unpicklable
from evertoken_transports._clock import Clock
from evertoken_transports._coordinator import Coordinator
from evertoken_transports._events import EventCallback, check_on_event
from evertoken_transports._exchange import AsyncExchange, Exchange, check_exchange
from evertoken_transports._httpx.beside import (
    AsyncHttpxExchangeBase,
    AsyncSources,
    Beside,
    TasksOnlyExchange,
    TasksOnlySource,
    tasks_only,
)
from evertoken_transports._httpx.bodies import AsyncPeekedStream, PeekedStream
from evertoken_transports._httpx.exchange import HttpxExchangeBase, Settings, with_reference
from evertoken_transports._httpx.flow import Flow
from evertoken_transports._shares import Shares
from evertoken_transports._signing import origins_of
from evertoken_transports._source import checked_timeout, found_coordinator
from evertoken_transports.threads import TokenSource

if TYPE_CHECKING:
    from evertoken.sharing import Store


# Request and Response of the library; the two libraries have no class in common.
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Exchange = TypeVar("_Exchange", bound=Settings)


class BearerAuthBase(Unpicklable, Generic[_Request, _Response]):
    """Signs the calls of a client with the one valid bearer token of ``grant`` (RFC 6750 section 2.1).

    ::

        auth = BearerAuth(mangopay.sandbox(client_id="...", api_key="..."))
        with Client(auth=auth, base_url=auth.api_base) as client:     # or AsyncClient, on asyncio or trio
            client.get("/users")

    Args:
        grant: who asks for tokens, where, and how. Its ``api_base`` says which origin (scheme, host and port) they are
            for.
        policy: the tunables; see :class:`evertoken.Policy`.
        timeout: seconds that a call may wait for a token before it is sent, and once more before it is repeated. The
            client's own timeouts do not count here. Default: 15; with a store 20, and 10 more for each further store
            (by the default policy).
        replay: repeat a call whose token was rejected, by the rules below. If False, the caller gets every 401.
        origins: further origins that tokens may be sent to, such as ``("https://files.example.com",)``.
        ssl_context, proxy, trust_env: for the token request only; see the ``HttpxExchange`` of this module. The client
            has settings of its own for the API.
        exchange: how a token request travels: a plain callable. Under an AsyncClient it runs in a worker thread, unless
            there is an ``async_exchange``. Default: ``HttpxExchange`` of this module.
        async_exchange: how a token request travels under an AsyncClient: a coroutine function, which is awaited in the
            event loop that runs, and so in that loop's time. If it is given without an ``exchange``, the object serves
            AsyncClients only. Default: ``AsyncHttpxExchange`` of this module.
        coordinator: the coordinator to share. Default: that of everybody in the process with an equal grant, policy
            and stores, so that an auth object made for one call costs no token request of its own.
        store: by which the token is shared with every process that has an equal store:
            :class:`~evertoken_transports.stores.FileStore`, :class:`~evertoken_transports.stores.RedisStore`. See
            :class:`~evertoken_transports.stores.SharedExchange`, also for ``store_required`` and ``keys``.
        on_event: called with each event; see :class:`~evertoken_transports.Coordinator`.

    **What is signed.** Requests to the grant's origin and to ``origins``. Our value replaces an ``Authorization``
    header that the request has already, as with the library's own auth classes; ``auth=None`` leaves a call alone.
    Requests to other origins go out as they are, and ``on_event`` gets a ``RequestNotSigned``; the log has a
    WARNING of the first to each origin. The client keeps the header on a redirect within the origin, and takes it off
    on one to elsewhere.

    **What a call raises** beside the client's own errors, and before anything is sent to the API: ``EndpointLocked``,
    ``CredentialsRefused``, ``RateLimited`` or their base ``TokenUnavailable`` if no token can be had in ``timeout``
    seconds; ``LocalProtocolError`` if :attr:`source` is closed, or if a Client meets an object that has an
    ``async_exchange`` alone. The constructor raises TypeError or ValueError, which name the argument.

    **What a rejected token leads to.** A 401, or another 4xx whose ``WWW-Authenticate`` says ``invalid_token``, counts
    if the very request that it answers carried our value. The token is then dropped, unless the rejection is not to be
    believed (:meth:`evertoken.TokenMachine.token_rejected`), and the call is repeated once, if

    - the answer says that the token was the cause, or the method is safe (GET, HEAD, OPTIONS, TRACE): a call that may
      have had its effect is never made twice;
    - the body can be sent again: bytes, text, JSON and forms can; files, iterators and multipart bodies cannot, unless
      ``request.read()`` has been called (``aread()`` on an AsyncClient);
    - another token can be had within ``timeout``.

    Otherwise, and the second time, the caller gets that answer. A repeated call has the first answer in
    ``response.history``, with as much of its body as was looked at. A 401 that asks for strong customer authentication
    leads to nothing, and neither does any other error, except the 400 by which Mangopay says that the account is
    locked: the caller gets it, and the token endpoint is not asked until the lock may be over.

    The body of an answer is looked at on 400 and 401 only, and no more than 64 KiB of it, also under ``stream()``; the
    caller can read it as usual. The token request has a client of its own, so that hooks, cookies, timeouts, redirects
    and history of the client that makes the calls never see it. One object may serve any number of threads, event
    loops and clients, all at the same time; a copy of it is the object itself.
    """

    _library: ClassVar[ModuleType]
    _exchange_class: ClassVar[type[HttpxExchangeBase]]
    _async_exchange_class: ClassVar[type[AsyncHttpxExchangeBase]]
    _stream_class: ClassVar[type[PeekedStream]]
    _async_stream_class: ClassVar[type[AsyncPeekedStream]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.__doc__ = with_reference(cls, BearerAuthBase)

    def __init__(
        self,
        grant: ClientCredentials,
        *,
        policy: Policy = Policy(),  # noqa: B008 (frozen: sharing it is safe)
        timeout: float | None = None,
        replay: bool = True,
        origins: Iterable[str] = (),
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        trust_env: bool = True,
        exchange: Exchange | None = None,
        async_exchange: AsyncExchange | None = None,
        coordinator: Coordinator | None = None,
        store: Store | None = None,
        store_required: bool = False,
        keys: Sequence[str | bytes] = (),
        on_event: EventCallback | None = None,
    ) -> None:
        check_type("grant", grant, ClientCredentials)
        # A proxy and an origin may have a password in them, keys are secret, and error trackers show local variables.
        shares = Shares(store, keys, store_required=store_required)
        hidden = None if proxy is None else Hidden(proxy)
        allowed = origins_of(grant, origins)
        del proxy, origins, keys
        shares.check()
        has_settings = not (ssl_context is None and hidden is None and trust_env)
        _check_exchanges(exchange, async_exchange, own_settings=has_settings)
        seconds = None if timeout is None else checked_timeout(timeout)
        shared = found_coordinator(grant, policy, coordinator, _stores(shares, exchange, async_exchange))
        check_on_event(on_event)
        check_type("replay", replay, bool)
        if isinstance(allowed, str):
            raise ValueError(allowed)

        own = partial(_own, shared.clock, hidden, ssl_context, trust_env=trust_env)
        self._api_base = grant.api_base or ""
        self._serves_threads = exchange is not None or async_exchange is None
        blocking = shares.around(exchange or own(self._exchange_class), shared.clock)
        in_thread = Beside(blocking) if exchange is not None and async_exchange is None else None
        awaited = in_thread or shares.around_async(async_exchange or own(self._async_exchange_class), shared.clock)
        lasting = blocking if async_exchange is None else None
        self._source = (TokenSource if self._serves_threads else TasksOnlySource)(
            grant,
            policy=policy,
            exchange=blocking if self._serves_threads else TasksOnlyExchange(awaited),
            coordinator=shared,
            background=self._serves_threads,
            on_event=on_event,
        )
        self._flow = Flow(
            self._library,
            self._stream_class,
            self._async_stream_class,
            self._source,
            AsyncSources(self._source, awaited, lasting).current,
            allowed,
            seconds,
            replay,
        )

    def __repr__(self) -> str:
        name = f"{type(self).__module__}.{type(self).__name__}"
        source = getattr(self, "_source", None)  # Not there yet if a wrong argument stopped the making.
        return f"<{name}>" if source is None else f"<{name} by {source!r}>"

    @property
    def source(self) -> TokenSource:
        """The source of the tokens: for calls by other means, to replace the secret, and to see what is going on."""
        return self._source

    @property
    def api_base(self) -> str:
        """The grant's base URL for API calls, for the client's ``base_url``; empty if the grant has none."""
        return self._api_base

    def auth_flow(self, request: _Request) -> Generator[_Request, _Response, None]:  # noqa: ARG002
        """Not for use, since it could not wait for a token. The clients call one of the two other methods.

        Raises:
            TypeError: always. Without it, the request would go out unsigned.
        """
        raise TypeError("auth_flow cannot wait for a token: use sync_auth_flow or async_auth_flow")

    def sync_auth_flow(self, request: _Request) -> Generator[_Request, _Response, None]:
        """The generator that a client drives: it sends each request that is yielded, and hands the answer back.

        Raises:
            LocalProtocolError: the only exchange is an ``async_exchange``, which needs an AsyncClient.
        """
        if not self._serves_threads:
            raise tasks_only()
        return self._flow.run(request)

    def async_auth_flow(self, request: _Request) -> AsyncGenerator[_Request, _Response]:
        """The same for an asynchronous client, on asyncio or trio. It waits in the event loop, and never blocks it."""
        return self._flow.arun(request)


def _own(
    clock: Clock, proxy: Hidden | None, ssl_context: ssl.SSLContext | None, kind: type[_Exchange], *, trust_env: bool
) -> _Exchange:
    """An exchange of this package, of the class ``kind``, with the settings that ``BearerAuth`` was given for it."""
    url = None if proxy is None else proxy.reveal
    return kind(ssl_context=ssl_context, proxy=url and url(), trust_env=trust_env, clock=clock)


def _stores(shares: Shares, exchange: object, async_exchange: object) -> tuple[Hashable, ...]:
    """The stores on the way to the endpoint, by whichever exchange. Raises ValueError if the two exchanges differ."""
    stores = shares.stores(exchange if async_exchange is None else async_exchange)
    if exchange is not None and shares.stores(exchange) != stores:
        raise ValueError("exchange and async_exchange must share by the same stores, since they share one token")
    return stores


def _check_exchanges(exchange: object, async_exchange: object, *, own_settings: bool) -> None:
    if exchange is not None:
        check_exchange("exchange", exchange, is_async=False, instead="async_exchange takes a coroutine function")
    if async_exchange is not None:
        check_exchange("async_exchange", async_exchange, is_async=True, instead="exchange takes a plain callable")
    if own_settings and not (exchange is None and async_exchange is None):
        given = "async_exchange" if exchange is None else "exchange"
        raise ValueError(f"{given} has settings of its own: give ssl_context, proxy and trust_env to it instead")
