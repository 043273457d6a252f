"""CloudEvents 1.0, structured JSON: for Event Grid, Knative, Logic Apps and whatever else routes by envelope."""

from typing import Any

from detectors.delivery.formats.native import EVENT_TYPE, MAX_BYTES, trimmed_data
from detectors.delivery.text import clip, visible
from detectors.model import Alert

SOURCE = "urn:azure-automation-detector"
_ENVELOPE = 1_000
_SUBJECT = 300


def build_event(alert: Alert) -> dict[str, Any]:
    """The alert as ``data`` (that of the native format) of an event whose ``id`` is the alert's.

    ``source`` and ``id`` together name the alert, however often it comes. ``severity`` is an extension attribute, so
    that a broker can filter by it without reading ``data``.
    """
    # The specification forbids control characters and surrogates in attributes, and an empty subject.
    subject = clip(visible(alert.resource_id[:_SUBJECT]), _SUBJECT)
    return {
        "specversion": "1.0",
        "id": alert.id,
        "source": SOURCE,
        "type": EVENT_TYPE,
        **({"subject": subject} if subject else {}),
        "time": alert.created_at.isoformat(),
        "severity": alert.severity.value,
        "datacontenttype": "application/json",
        "data": trimmed_data(alert, MAX_BYTES - _ENVELOPE),
    }
