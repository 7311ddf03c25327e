"""The content of a chat message: a text, or an array of parts of several types."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import orjson

from pointsman.dialects.fields import extra_of, missing, opt_object, opt_str, req_str, wrong
from pointsman.dialects.portability import opaque
from pointsman.domain.content import Audio, Document, Image, Json, JsonObject, Part, Text
from pointsman.errors import InvalidRequest


def read_parts(item: JsonObject, where: str) -> tuple[Part, ...]:
    content = item.get("content")
    if type(content) is str:
        return (Text(content),) if content else ()
    if content is None:
        return ()
    if type(content) is not list:
        wrong(where + "content", "a string or an array", content)
    return tuple(_part(part, f"{where}content[{j}]") for j, part in enumerate(content))


def _part(part: Json, path: str) -> Part:
    if type(part) is not dict:
        wrong(path, "an object", part)
    where = path + "."
    kind = req_str(part, "type", where)
    read = _BY_TYPE.get(kind)
    if read is not None:
        return read(part, where)
    return opaque(part, orjson.dumps(part).decode())


def _text(part: JsonObject, where: str) -> Part:
    text = req_str(part, "text", where)
    return Text(text) if len(part) == 2 else Text(text, extra_of(part, _TEXT))


def _refusal(part: JsonObject, where: str) -> Part:
    return Text(req_str(part, "refusal", where))


def _image(part: JsonObject, where: str) -> Part:
    image = part.get("image_url")
    detail = None
    if type(image) is str:
        url = image
    else:
        holder = opt_object(part, "image_url", where)
        if holder is None:
            missing(where + "image_url")
        url = req_str(holder, "url", where + "image_url.")
        detail = opt_str(holder, "detail", where + "image_url.")
    extra = extra_of(part, _IMAGE)
    media_type, data = split_data_url(url, where + "image_url.url")
    if data is None:
        return Image(url=url, detail=detail, extra=extra)
    return Image(data=data, media_type=media_type, detail=detail, extra=extra)


def _audio(part: JsonObject, where: str) -> Part:
    audio = opt_object(part, "input_audio", where)
    if audio is None:
        missing(where + "input_audio")
    inner = where + "input_audio."
    return Audio(
        req_str(audio, "data", inner), req_str(audio, "format", inner), extra_of(part, _AUDIO)
    )


def _file(part: JsonObject, where: str) -> Part:
    file = opt_object(part, "file", where)
    if file is None:
        missing(where + "file")
    inner = where + "file."
    name = opt_str(file, "filename", inner)
    file_id = opt_str(file, "file_id", inner)
    given = opt_str(file, "file_data", inner)
    extra = extra_of(part, _FILE)
    if given is None:
        if file_id is None:
            missing(inner + "file_data")
        return Document(file_id=file_id, name=name, extra=extra)
    media_type, data = split_data_url(given, inner + "file_data")
    if data is None and given.startswith(("http://", "https://")):
        return Document(url=given, name=name, extra=extra)
    return Document(
        media_type=media_type or "application/pdf", data=data or given, name=name, extra=extra
    )


_TEXT = frozenset({"type", "text"})
_IMAGE = frozenset({"type", "image_url"})
_AUDIO = frozenset({"type", "input_audio"})
_FILE = frozenset({"type", "file"})

_BY_TYPE: Mapping[str, Callable[[JsonObject, str], Part]] = {
    "text": _text,
    "image_url": _image,
    "input_audio": _audio,
    "file": _file,
    "refusal": _refusal,
}


def split_data_url(url: str, param: str) -> tuple[str | None, str | None]:
    """Return (media type, base64) of a data: URL (RFC 2397), (None, None) of any other."""
    if url[:5].lower() != "data:":
        return None, None
    head, comma, data = url[5:].partition(",")
    media_type, *rest = head.split(";")
    if not comma or "base64" not in rest:
        raise InvalidRequest(f"{param} is a data: URL that is not base64", param=param)
    return media_type or "application/octet-stream", data
