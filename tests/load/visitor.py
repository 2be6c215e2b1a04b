"""A visitor without a browser: one session of the page over Streamlit's own websocket.

Messages are those that a browser sends and gets, as protobufs out of `streamlit.proto`.
A widget is named by its `key` in `vgkeras.page`, a chart by that of its container.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import parse_qs, urlencode

import pandas as pd
import pyarrow as pa
import requests
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Common_pb2 import FileURLsResponse, UploadedFileInfo
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

PATIENCE = 120.0  # seconds until a rerun is given up
LISTS = ("slider", "multiselect", "button_group")  # widgets whose value is a list
WIDGETS = (*LISTS, "selectbox", "button", "checkbox", "file_uploader")
COOKIE = "_streamlit_xsrf"
Path = tuple[int, ...]


class Lost(RuntimeError):
    """The page went away, or did not answer in time."""


class Page:
    """What is on the screen: elements and blocks by their place in it."""

    def __init__(self) -> None:
        self._elements: dict[Path, Any] = {}
        self._blocks: dict[Path, str] = {}
        self._drawn: set[Path] = set()

    def begin(self) -> None:
        self._drawn.clear()

    def apply(self, message: ForwardMsg) -> None:
        """Puts an element or a block into its place."""
        path = tuple(message.metadata.delta_path)
        delta = message.delta
        if delta.HasField("add_block"):
            self._elements.pop(path, None)
            self._blocks[path] = delta.add_block.id
        elif delta.HasField("new_element"):
            for parts in (self._elements, self._blocks):
                for below in [p for p in parts if p[: len(path)] == path]:
                    del parts[below]
            element = delta.new_element
            self._elements[path] = getattr(element, element.WhichOneof("type"))
        self._drawn.add(path)

    def finish(self) -> None:
        """Drops what the last rerun has not drawn again, as a browser does."""
        for parts in (self._elements, self._blocks):
            for path in set(parts) - self._drawn:
                del parts[path]

    def of(self, *kinds: str, within: str = "") -> Iterator[Any]:
        """The elements of some kinds, from top to bottom, in a block of that key."""
        for path, element in sorted(self._elements.items(), key=lambda pair: pair[0]):
            if element.DESCRIPTOR.name.lower() in kinds:
                above = (path[:end] for end in range(len(path)))
                keys = {key_of(self._blocks.get(block, "")) for block in above}
                if not within or within in keys:
                    yield element

    def words(self, within: str = "") -> list[str]:
        """What is written on the page, outside of charts and controls."""
        kinds = ("markdown", "text", "alert", "heading", "code")
        return [
            getattr(element, "body", "") or getattr(element, "code_text", "")
            for element in self.of(*kinds, within=within)
        ]

    def exceptions(self) -> list[str]:
        return [f"{one.type}: {one.message}" for one in self.of("exception")]

    def widgets(self) -> Iterator[Any]:
        return self.of(*(name.replace("_", "") for name in WIDGETS))

    def widget(self, key: str) -> Any:
        """The control with that key or, a button that has none, that label."""
        for widget in self.widgets():
            if key in (key_of(widget.id), widget.label):
                return widget
        raise KeyError(f"No control {key!r} on this page.")

    def table(self, key: str) -> pd.DataFrame:
        """The data of a chart, one table for all its layers."""
        for chart in self.of("vegalitechart", within=key):
            sets = [named.data.data for named in chart.datasets]
            sets += [chart.data.data] if chart.data.data else []
            return pd.concat([pa.ipc.open_stream(one).read_pandas() for one in sets])
        raise KeyError(f"No chart {key!r} on this page.")


def key_of(identity: str) -> str:
    """The key that the page gave: `$$ID-<hash>-<key>`."""
    key = identity.partition("-")[2].partition("-")[2]
    return "" if key == "None" else key


class Visitor:
    """One visitor: `async with Visitor(address) as visitor: await visitor.open()`.

    `page` is what is on the screen. `query` is the address, kept as a browser keeps it:
    with the value of every control that was moved.
    """

    def __init__(self, address: str, patience: float = PATIENCE) -> None:
        self.address, self.patience = address, patience
        self.page = Page()
        self.query: dict[str, list[str]] = {}
        self._states: dict[str, WidgetState] = {}
        self._session = ""
        self._socket: ClientConnection | None = None
        self._token = ""

    async def __aenter__(self) -> Self:
        """Connects, with the headers of a browser."""
        try:
            self._token = await asyncio.to_thread(self._cookie)
            self._socket = await connect(
                self.address.replace("http", "ws", 1) + "/_stcore/stream",
                origin=self.address,
                subprotocols=["streamlit", self._token],
                additional_headers={"Cookie": f"{COOKIE}={self._token}"},
                max_size=None,
                proxy=None,
            )
        except (OSError, requests.RequestException, WebSocketException) as error:
            raise Lost(f"No connection: {error!r}") from error
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Closes the tab, whatever is under way."""
        if self._socket is not None:
            with contextlib.suppress(OSError, WebSocketException):
                await self._socket.close()

    async def open(self, query: str = "") -> float:
        """Opens the page at an address; seconds until all of it is there."""
        self.query = parse_qs(query, keep_blank_values=True)
        self._states.clear()
        seconds = await self._rerun(query)
        if not query:  # a browser asks for the rest once the first screen is drawn
            seconds += await self._rerun(query)
        return seconds

    async def move(self, key: str, *values: Any) -> float:
        """Sets a control, as by hand; seconds until the page is done with it."""
        await self.touch(key, *values)
        return await self.settled()

    async def touch(self, key: str, *values: Any) -> None:
        """Sets a control and does not wait."""
        widget = self.page.widget(key)
        texts = [value if isinstance(value, str) else f"{value:g}" for value in values]
        trigger = self._set(widget, texts)
        await self._ask(urlencode(self.query, doseq=True), trigger)

    async def upload(self, key: str, name: str, content: bytes) -> float:
        """Hands a file to an uploader; seconds from there to the end of the rerun."""
        widget = self.page.widget(key)
        await self._send(
            BackMsg(
                file_urls_request={
                    "request_id": uuid.uuid4().hex,
                    "file_names": [name],
                    "session_id": self._session,
                }
            )
        )
        urls = (await self._until("file_urls_response")).file_urls_response
        begun = time.perf_counter()
        await asyncio.to_thread(self._put, urls, name, content)
        state = WidgetState(id=widget.id)
        state.file_uploader_state_value.uploaded_file_info.append(
            UploadedFileInfo(
                name=name,
                size=len(content),
                file_id=urls.file_urls[0].file_id,
                file_urls=urls.file_urls[0],
            )
        )
        self._states[widget.id] = state
        await self._ask(urlencode(self.query, doseq=True))
        await self.settled()
        return time.perf_counter() - begun

    async def settled(self) -> float:
        """Waits for the end of the rerun that was asked for; seconds since then."""
        while True:
            message = await self._until("script_finished")
            # A run that a newer one has cut short is not the answer.
            if (
                self._begun
                and message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN
            ):
                break
        self.page.finish()
        present = {widget.id for widget in self.page.widgets()}
        self._states = {k: v for k, v in self._states.items() if k in present}
        return time.perf_counter() - self._asked

    async def running(self) -> None:
        """Waits until the rerun that was asked for has begun."""
        while not self._begun:
            await self._until("new_session")

    async def _rerun(self, query: str) -> float:
        await self._ask(query)
        return await self.settled()

    async def _ask(self, query: str, trigger: WidgetState | None = None) -> None:
        message = BackMsg()
        state = message.rerun_script
        state.query_string = query
        state.context_info.url = f"{self.address}/?{query}"
        state.widget_states.widgets.extend(self._states.values())
        if trigger is not None:
            state.widget_states.widgets.append(trigger)
        self._begun, self._asked = False, time.perf_counter()
        await self._send(message)

    def _set(self, widget: Any, values: list[str]) -> WidgetState | None:
        """Notes the new value; returns that of a button, which is sent only once."""
        kind = widget.DESCRIPTOR.name
        state = WidgetState(id=widget.id)
        if kind == "Button":
            state.trigger_value = True
            return state
        if kind == "Checkbox":
            state.bool_value = values == ["true"]
        elif kind == "Selectbox":
            state.string_value = offered(widget, values)[0]
        else:
            state.string_array_value.data[:] = offered(widget, values)
        self._states[widget.id] = state
        if widget.query_param_key:
            self.query[widget.query_param_key] = values
        return None

    def _take(self, message: ForwardMsg) -> None:
        """What a browser does with a message."""
        kind = message.WhichOneof("type")
        if kind == "new_session":
            self._session = message.new_session.initialize.session_id
            self._begun = True
            self.page.begin()
        elif kind == "page_info_changed":
            self.query = parse_qs(
                message.page_info_changed.query_string, keep_blank_values=True
            )
        elif kind == "delta":
            self.page.apply(message)
            if message.delta.HasField("new_element"):
                element = message.delta.new_element
                self._follow(getattr(element, element.WhichOneof("type")))

    def _follow(self, widget: Any) -> None:
        """A control that the page itself has moved, as a button of it may."""
        if not getattr(widget, "set_value", False):
            return
        kind = widget.DESCRIPTOR.name
        if kind == "Selectbox":
            values = [widget.raw_value]
        elif kind == "Checkbox":
            values = ["true" if widget.value else "false"]
        else:
            values = list(widget.raw_value if kind == "Slider" else widget.raw_values)
        self._set(widget, values)

    async def _send(self, message: BackMsg) -> None:
        try:
            await self._socket.send(message.SerializeToString())
        except (OSError, WebSocketException) as error:
            raise Lost(f"The page went away: {error!r}") from error

    async def _until(self, kind: str) -> ForwardMsg:
        """Takes messages up to one of this kind."""
        try:
            async with asyncio.timeout(self.patience):
                while True:
                    message = ForwardMsg.FromString(await self._socket.recv())
                    self._take(message)
                    if message.WhichOneof("type") == kind:
                        return message
        except TimeoutError as error:
            raise Lost(f"No answer for {self.patience:g} s.") from error
        except (OSError, WebSocketException) as error:
            raise Lost(f"The page went away: {error!r}") from error

    def _cookie(self) -> str:
        answer = requests.get(f"{self.address}/_stcore/health", timeout=30)
        return answer.cookies.get(COOKIE, "")

    def _put(self, urls: FileURLsResponse, name: str, content: bytes) -> None:
        answer = requests.put(
            self.address + urls.file_urls[0].upload_url,
            files={name: (name, content)},
            headers={"X-Xsrftoken": self._token},
            cookies={COOKIE: self._token},
            timeout=30,
        )
        if not answer.ok:
            raise Lost(f"Upload refused: {answer.status_code} {answer.text[:200]}")


def offered(widget: Any, values: list[str]) -> list[str]:
    """The values, if the control has them; a hand cannot choose others."""
    options = [getattr(option, "content", option) for option in widget.options]
    # A multiselect tells whole floats as 1.0, a slider of this page as 1.
    numbers = {option.removesuffix(".0"): option for option in options}
    missing = [
        value for value in values if value not in numbers and value not in options
    ]
    if missing:
        raise ValueError(f"{widget.label!r} does not offer {missing}: {options}")
    return [value if value in options else numbers[value] for value in values]
