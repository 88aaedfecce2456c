"""Signing the calls of aiohttp: ``ClientSession(middlewares=(BearerMiddleware(grant),))``. Needs aiohttp and h11."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from typing_extensions import Unpack

try:
    from aiohttp import BytesPayload, ClientHandlerType, ClientRequest, ClientResponse
except ImportError as error:
    raise ImportError(
        "evertoken_transports.aiohttp needs aiohttp 3.12 or later: pip install aiohttp", name=error.name
    ) from error

from evertoken import ClientCredentials, TokenUnavailable
from evertoken_transports._exchange import AsyncExchange
from evertoken_transports._options import SourceOptions
from evertoken_transports._signing import MOST_PEEKED, TELLING, Signing, concealed, origin_of, origins_of
from evertoken_transports.asyncio import TokenSource

__all__ = ("BearerMiddleware",)


class BearerMiddleware(Signing[TokenSource]):
    """Bearer authentication for ``aiohttp.ClientSession``, by the rules of ``evertoken_transports.httpx.BearerAuth``.

    ::

        auth = BearerMiddleware(mangopay.sandbox(client_id="...", api_key="..."))
        async with aiohttp.ClientSession(middlewares=(auth,)) as session:
            async with session.get(f"{auth.api_base}/users") as response:
                ...

    Args:
        grant: who asks for tokens, where, and how. Its ``api_base`` says which origin they are for.
        timeout: seconds that a call may wait for a token before it is sent, and once more before it is repeated; as of
            :meth:`~evertoken_transports.asyncio.TokenSource.authorization`.
        replay: repeat a call whose token was rejected. If False, the caller gets every 401.
        origins: further origins that tokens may be sent to, such as ``("https://files.example.com",)``.
        options: those of :class:`~evertoken_transports.asyncio.TokenSource`: ``policy``, ``store`` and so on.

    Calls to other origins go out unsigned, and so does a call that is redirected to one: ``on_event`` gets a
    ``RequestNotSigned`` for each, and the log has a WARNING of the first to each origin. A 401 to a call that carried
    our value is told to the source, and the call is repeated once, with another token, if its body can be sent again
    (bytes, text, JSON and plain forms can, files, multipart bodies and iterators cannot) and either the answer names
    the token as the cause or the method is safe. Beside the errors of aiohttp, a call raises what ``authorization``
    raises, and does so before anything is sent. One object serves any number of sessions and loops.

    Raises:
        TypeError, ValueError: an argument is wrong; the text names it.
    """

    def __init__(
        self,
        grant: ClientCredentials,
        *,
        timeout: float | None = None,
        replay: bool = True,
        origins: Iterable[str] = (),
        **options: Unpack[SourceOptions[AsyncExchange]],
    ) -> None:
        allowed, given = origins_of(grant, origins), concealed(options)
        del origins, options  # Both may hold a password, and error trackers show local variables.
        super().__init__(grant, allowed, lambda: TokenSource(grant, **given()), timeout, replay=replay)

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Sign ``request``, let ``handler`` send it, and read what the answer says of the token. Called by aiohttp."""
        if not self._origins.allow(origin_of(str(request.url)), self._source):
            return await handler(request)
        authorization = request.headers["Authorization"] = await self._source.authorization(self._timeout)
        response = await handler(request)
        resendable = self._replay and isinstance(request.body, bytes | BytesPayload)
        another = await self._another(authorization, response, resendable=resendable)
        if another is None:
            return response
        response.release()
        request.headers["Authorization"] = another
        response = await handler(request)
        await self._another(another, response, resendable=False)
        return response

    async def _another(self, authorization: str, response: ClientResponse, *, resendable: bool) -> str | None:
        """Tell the source of ``response``. Returns the value for the call to be repeated with; None if it is not."""
        status, headers = response.status, response.headers
        try:
            body = await _beginning(response) if status in TELLING else b""
            if not self._source.answered(authorization, response.method, status, headers, body, resendable=resendable):
                return None
            another = await self._source.authorization(self._timeout)
        except TokenUnavailable:
            return None
        except BaseException:
            response.close()  # The caller gets what was raised, and has nothing to close.
            raise
        return None if another == authorization else another


async def _beginning(response: ClientResponse) -> bytes:
    """The beginning of the body. The caller can read all of it as usual, also piece by piece."""
    head, content = b"", response.content
    try:
        while len(head) < MOST_PEEKED and not content.at_eof():
            head += await content.read(MOST_PEEKED - len(head))
    except Exception:
        if content.exception() is None:  # The time for the whole call is over, which the caller must be told now.
            raise
        # Otherwise the body keeps the error, which is raised again where the caller reads.
    with warnings.catch_warnings(category=DeprecationWarning, action="ignore"):
        content.unread_data(head)
    return head
