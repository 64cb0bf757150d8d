"""Signed HTTP requests to one org.

The one importer of the okta SDK: it signs and authenticates (SSWS, OAuth with a private-key JWT, DPoP), and sends what
it has to send through our transport. It is given its configuration here, so that no okta.yaml and no OKTA_* variable
has a say. Everything but making a Connection runs on the loop's thread.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import logging
import re
import ssl
import time
import urllib.request
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import aiohttp
from okta.cache.no_op_cache import NoOpCache
from okta.jwt import JWT
from okta.request_executor import RequestExecutor
from yarl import URL

from poller import __version__
from poller.errors import MalformedPage, OktaError, OktaRefused, PollerError, SettingsError
from poller.settings import OrgSettings
from poller.system_log.answer import Answer, TryAgain
from poller.text import printable

MAX_BODY = 128 * 2**20  # bytes, as sent and unpacked; a page of 1000 events has 3 to 6 million
CONNECT_SECONDS = 10
ANSWER_SECONDS = 60  # from the first byte sent to the last one read; Okta ends its own queries after 30
SIGNED_SECONDS = 120  # an answer together with all that its signature may take: access tokens, nonces
SCOPE = "okta.logs.read"
_DPOP_DEMANDED = ("invalid_dpop_proof", "use_dpop_nonce")

logging.getLogger("okta-sdk-python").disabled = True  # it logs whole requests, Authorization included


class Connection:
    """Signed requests to one org, one at a time. `answer_seconds`: what one answer may take, from first to last."""

    def __init__(self, org: OrgSettings, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._org, self._answer_seconds = org, answer_seconds
        self._secret: str | None = None
        self._executor: RequestExecutor | None = None
        self._session: aiohttp.ClientSession | None = None
        self._uses_dpop = False
        self._token_answer: Answer | None = None

    @property
    def credentials(self) -> str:
        if not self._org.uses_oauth:
            return "API token"
        return f"OAuth client {self._org.client_id}{' (DPoP)' if self._uses_dpop else ''}"

    @property
    def further_scopes(self) -> tuple[str, ...]:
        """What the access token in use was granted beyond the scope that was asked for."""
        try:
            granted = json.loads(self._token_answer.body)["scope"] if self._token_answer else ""
        except (ValueError, KeyError, TypeError, RecursionError):
            return ()
        return tuple(sorted(set(str(granted).split()) - {SCOPE}))

    def mask(self, text: str) -> str:
        """Text of Okta's, or of whoever answers in its place, without the credentials that it may repeat."""
        oauth = self._executor._oauth if self._executor else None
        for secret in (self._secret, getattr(oauth, "_access_token", None)):
            if secret and len(secret) >= 8:
                for form in {secret, quote(secret, safe="")}:
                    text = re.sub(re.escape(form), "***", text, flags=re.IGNORECASE)
        return text

    async def open(self) -> None:
        """Read the credentials anew, since files are rotated, and be ready to send. Raises SettingsError."""
        secret = self._org.secret()
        if secret != self._secret or self._executor is None:
            self._secret, self._executor = secret, None
            self._executor = await self._sign_in()
        await self.close()
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._answer_seconds, sock_connect=CONNECT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # `_unpacked` knows when to stop, and what was asked for
            max_line_size=32768,
            max_field_size=32768,
            read_bufsize=2**18,
            # An environment that is trusted whole would put a password of .netrc in the place of our Authorization.
            trust_env=False,
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, url: URL) -> Answer:
        """The answer of one address of the org. Raises OktaError, TryAgain among them."""
        try:
            async with asyncio.timeout(SIGNED_SECONDS):
                return await self._get(url)
        except TimeoutError:
            raise self._too_slow() from None

    async def _get(self, url: URL) -> Answer:
        """Asks again where only the signature was out of date: an access token that has expired or was revoked (once),
        a DPoP nonce that is new."""
        is_renewed = False
        for _ in range(4):
            answer = await self._send("GET", url, await self._signature(url))
            oauth = self._executor._oauth if self._executor else None  # the SDK has no public way to it
            if oauth is None:
                break
            is_new_nonce = _take_nonce(answer, oauth.get_dpop_generator())
            if answer.status == 401 and not is_new_nonce and not is_renewed:
                oauth.clear_access_token()
                is_renewed = True
            elif not (answer.status in (400, 401) and is_new_nonce):
                break
        return answer

    async def send_request(self, request: Mapping[str, Any]) -> tuple[None, Answer, str, None]:
        """The SDK sends its token requests through here."""
        # aiohttp writes the Content-Type of a form itself.
        headers = {name: value for name, value in request["headers"].items() if name.lower() != "content-type"}
        headers["Accept-Encoding"] = "gzip"
        self._token_answer = answer = await self._send(request["method"], URL(request["url"]), headers, request["form"])
        answer.raise_if_busy(self._org.org_url)
        return None, answer, answer.body.decode("utf-8", "replace"), None

    async def _sign_in(self) -> RequestExecutor:
        client: dict[str, Any] = {
            "orgUrl": self._org.org_url,
            "userAgent": f"okta-poller/{__version__}",
            "requestTimeout": 0,
            "rateLimit": {"maxRetries": 0},
        }
        if self._org.uses_oauth:
            pem, key_id = _private_key(self._secret or "", self._org.name)
            client |= {
                "authorizationMode": "PrivateKey",
                "clientId": self._org.client_id,
                "scopes": [SCOPE],
                "privateKey": pem,
                "kid": self._org.key_id or key_id,
                "oauthTokenRenewalOffset": 1,
                "dpopEnabled": self._uses_dpop,
            }
        else:
            client |= {"authorizationMode": "SSWS", "token": self._secret}
        # Making a key for DPoP takes a second: not on the loop's thread, which serves the other orgs too.
        return await asyncio.to_thread(RequestExecutor, {"client": client}, NoOpCache(), lambda _: self)

    async def _signature(self, address: URL) -> dict[str, str]:
        """The headers of one request. Fetches an access token where there is none, and finds out by asking
        whether the app demands DPoP. Raises OktaRefused, TryAgain or another OktaError."""
        while True:
            token_answer, self._token_answer = self._token_answer, None
            assert self._executor is not None
            try:
                # Without its query: that is no part of what DPoP signs, and the link itself has to stay as it is.
                url = f"{self._org.org_url}{address.raw_path}"
                request, error = await self._executor.create_request("GET", url)
            except PollerError:
                raise
            except Exception as raised:
                error = raised
            if error is None:
                self._token_answer = self._token_answer or token_answer  # that of the token which is still in use
                return {**request["headers"], "Accept-Encoding": "gzip"}
            answer = self._token_answer
            if answer is None or answer.status < 400:
                raise OktaError(
                    f"{self._org.org_url} gave no usable access token ({type(error).__name__}). Try poller doctor.",
                    "credentials",
                ) from None
            if self._uses_dpop or answer.error()[0] not in _DPOP_DEMANDED:
                raise self._client_refused(answer)
            self._uses_dpop = True
            self._executor = await self._sign_in()

    async def _send(
        self, method: str, url: URL, headers: Mapping[str, str], form: Mapping[str, str] | None = None
    ) -> Answer:
        """One HTTP request; redirects are never followed. Raises TryAgain or OktaError."""
        assert self._session is not None
        where = self._org.org_url
        try:
            async with self._session.request(
                method, url, headers=headers, data=form, allow_redirects=False, proxy=_proxy(url)
            ) as response:
                body = await _read(response, where)
                answer = Answer(response.status, response.headers, body, time.time())
        except TimeoutError:
            raise self._too_slow() from None
        except (aiohttp.ClientSSLError, ssl.SSLError) as error:
            raise OktaError(
                f"no trusted connection to {where}: {_in_one_line(error)}. Behind a proxy that inspects TLS, "
                "set SSL_CERT_FILE to a file with its certificate.",
                "tls",
            ) from None
        except aiohttp.ClientPayloadError:
            raise TryAgain(
                f"the answer of {where} broke off before its end. Check the network, and what stands in between.",
                "connection",
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise TryAgain(
                f"can't reach {where}: {_in_one_line(error)}. Check the network and POLLER_OKTA_ORG_URL.", "connection"
            ) from None
        except PollerError:
            raise
        except Exception as error:
            # A bug in a library. Where it happened is told; its text could hold all that was sent.
            bug = RuntimeError(f"{type(error).__name__} while sending a request to {where}")
            raise bug.with_traceback(error.__traceback__) from None
        if 300 <= answer.status < 400 or answer.status < 200:
            host = printable(_host(answer.headers.get("Location", "")))[:100] or "no host"
            raise OktaError(
                f"{where} redirects to {host} ({answer.status}), which is not followed. "
                "Set POLLER_OKTA_ORG_URL to the address that the org itself answers at.",
                "redirect",
            )
        encoding = ", ".join(answer.headers.getall("Content-Encoding", [])).strip().lower()
        if encoding not in ("", "identity"):
            answer = replace(answer, body=await asyncio.to_thread(_unpacked, body, encoding, where))
        return answer

    def _too_slow(self) -> TryAgain:
        where = self._org.org_url
        return TryAgain(f"{where} took too long to answer. Check the network, or try again later.", "timeout")

    # ---- refusals, and what to do next ----

    def refused(self, answer: Answer) -> OktaRefused:
        where, reason = self._org.org_url, answer.reason()
        if answer.status == 401:
            what = "access token of " + self.credentials if self._org.uses_oauth else "API token"
            todo = (
                "Check that the app is active and was granted the scope okta.logs.read."
                if self._org.uses_oauth
                else "Set POLLER_OKTA_API_TOKEN to one from an admin who can read the System Log."
            )
            text = f"Okta refused the {what} for {where} ({reason}). {todo}"
        elif answer.status == 403:
            todo = (
                "Grant the app the scope okta.logs.read and an admin role that can view logs."
                if self._org.uses_oauth
                else "Set POLLER_OKTA_API_TOKEN to one from an admin who can read the System Log."
            )
            text = f"Okta does not let this {self.credentials} read the System Log of {where} ({reason}). {todo}"
        elif answer.error()[0] == "E0000053":
            text = (
                f"{where} refused how far back this asks ({reason}). Okta keeps 90 days of events: ask for no more, "
                "in --since or in POLLER_INITIAL_LOOKBACK."
            )
        else:
            text = (
                f"{where} refused the request for its System Log ({reason}). Check POLLER_OKTA_ORG_URL: poller doctor."
            )
        return OktaRefused(text, answer.status)

    def _client_refused(self, answer: Answer) -> OktaRefused:
        if answer.error()[0] == "invalid_scope":
            todo = "Grant the app the scope okta.logs.read."
        else:
            todo = "Check POLLER_OKTA_CLIENT_ID, POLLER_OKTA_PRIVATE_KEY_FILE and POLLER_OKTA_KEY_ID"
            skew = None if answer.date is None else answer.received - answer.date
            off = f", and this machine's clock, which is {abs(skew):.0f} s off" if skew and abs(skew) > 60 else ""
            todo = f"{todo}{off}."
        text = f"Okta refused the {self.credentials} for {self._org.org_url} ({answer.reason()}). {todo}"
        return OktaRefused(text, answer.status, "credentials")


async def _read(response: aiohttp.ClientResponse, where: str) -> bytes:
    """The whole body, as it was sent."""
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BODY:
            raise _too_large(where)
    return b"".join(chunks)


def _unpacked(body: bytes, encoding: str, where: str) -> bytes:
    """What was packed, and never more of it than MAX_BODY. Raises MalformedPage, or OktaError: it is too large."""
    what = f"{where} answered with a body that can't be unpacked"
    if encoding not in ("gzip", "x-gzip"):
        raise MalformedPage(
            f"{what}: it is packed as {printable(encoding)[:60]}, and only gzip was asked for. "
            "Is something between here and Okta? Try poller doctor."
        )
    chunks, size = [], 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            while chunk := file.read(2**18):
                chunks.append(chunk)
                size += len(chunk)
                if size > MAX_BODY:
                    raise _too_large(where)
    except (OSError, EOFError, zlib.error) as error:
        raise MalformedPage(
            f"{what}: {_in_one_line(error)}. Is something between here and Okta? Try poller doctor."
        ) from None
    return b"".join(chunks)


def _too_large(where: str) -> OktaError:
    text = f"{where} answered with {MAX_BODY >> 20} MB and more: larger than any page of events. Is it Okta?"
    return OktaError(text, "too_large")


def _take_nonce(answer: Answer, proofs: Any) -> bool:
    """Keep the DPoP nonce of an answer for the next proof; whether it is a new one."""
    nonce = answer.headers.get("DPoP-Nonce")
    if proofs is None or not nonce or nonce == proofs.get_nonce():
        return False
    proofs.set_nonce(nonce)
    return True


def _proxy(url: URL) -> str | None:
    """The proxy that the environment (HTTPS_PROXY, NO_PROXY) names for this address; plain http has none."""
    if url.scheme != "https" or urllib.request.proxy_bypass(url.host or ""):
        return None
    proxy = urllib.request.getproxies().get("https")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _private_key(text: str, org: str) -> tuple[str, str | None]:
    """A private key, PEM or JWK, as PEM and the key id that a JWK may name. Raises SettingsError."""
    key: str | dict[str, str] = text.replace("\\n", "\n")
    key_id = None
    try:
        if text.startswith("{"):
            jwk = json.loads(text)
            key_id = jwk.get("kid")
            # The SDK stumbles over members that are not text, such as key_ops.
            key = {name: value for name, value in jwk.items() if isinstance(value, str)}
        pem, _ = JWT.get_PEM_JWK(key)
        return str(pem.export_key().decode("ascii")), key_id
    except Exception:  # the libraries below raise whatever they please
        raise SettingsError(
            f"org {org}: the private key is not an RSA key in PEM or JWK form without a passphrase. "
            "Set POLLER_OKTA_PRIVATE_KEY_FILE to the file that Okta gave when the key was made."
        ) from None


def _in_one_line(error: Exception) -> str:
    """A library's error in a few words; never an address, which could hold a proxy's password."""
    if isinstance(error, aiohttp.ClientResponseError):
        text = f"{error.status} {error.message}"
    elif isinstance(error, aiohttp.ClientConnectorError):
        text = error.os_error.strerror or str(error.os_error)
    elif isinstance(error, aiohttp.InvalidURL):
        text = "an address can't be used"
    else:
        text = str(error) or type(error).__name__
    return printable(" ".join(text.split()))[:200].rstrip(".")


def _host(location: str) -> str:
    try:
        return URL(location).host or ""
    except ValueError:
        return ""
