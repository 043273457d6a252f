"""What the body of a webhook can look like: one pure function per file, registered here by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from detectors.delivery.formats import azure_common_alert, cloudevents, native, ocsf
from detectors.model import Alert


@dataclass(frozen=True)
class Format:
    """``build`` makes JSON of less than 20 kB from any alert; ``content_type`` is the header that announces it."""

    content_type: str
    build: Callable[[Alert], dict[str, Any]]


FORMATS: dict[str, Format] = {
    "native": Format("application/json", native.build_payload),
    "cloudevents": Format("application/cloudevents+json", cloudevents.build_event),
    "ocsf": Format("application/json", ocsf.build_finding),
    "azure-common-alert": Format("application/json", azure_common_alert.build_alert),
}
