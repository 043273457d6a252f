"""MITRE ATT&CK for rules: the techniques that a rule on a cloud service may name, and the tactics each belongs to.

Source: attack.mitre.org, Enterprise matrix, version 16 (October 2024). Identifiers, names and tactics only, and only of
techniques that fit a cloud service: what a rule names beyond them is not judged here, apart from a sub-technique whose
parent is listed. Tactics are in Sentinel's spelling, PascalCase, in the order of the matrix.
"""

import dataclasses
from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

VERSION: Final = "16"

TACTICS: Final = (
    "Reconnaissance",
    "ResourceDevelopment",
    "InitialAccess",
    "Execution",
    "Persistence",
    "PrivilegeEscalation",
    "DefenseEvasion",
    "CredentialAccess",
    "Discovery",
    "LateralMovement",
    "Collection",
    "CommandAndControl",
    "Exfiltration",
    "Impact",
)
"""Every tactic of the Enterprise matrix, in its order."""


@dataclasses.dataclass(frozen=True)
class Technique:
    """A technique or sub-technique: ``id`` such as ``T1078.004``; ``tactics`` are a part of :data:`TACTICS`."""

    id: str
    name: str
    tactics: tuple[str, ...]


_TABLE: Final = """
T1021 | Remote Services | LateralMovement
T1021.007 | Cloud Services | LateralMovement
T1021.008 | Direct Cloud VM Connections | LateralMovement
T1027 | Obfuscated Files or Information | DefenseEvasion
T1036 | Masquerading | DefenseEvasion
T1041 | Exfiltration Over C2 Channel | Exfiltration
T1053 | Scheduled Task/Job | Execution Persistence PrivilegeEscalation
T1059 | Command and Scripting Interpreter | Execution
T1059.001 | PowerShell | Execution
T1059.006 | Python | Execution
T1059.009 | Cloud API | Execution
T1069 | Permission Groups Discovery | Discovery
T1070 | Indicator Removal | DefenseEvasion
T1070.004 | File Deletion | DefenseEvasion
T1070.009 | Clear Persistence | DefenseEvasion
T1071 | Application Layer Protocol | CommandAndControl
T1072 | Software Deployment Tools | Execution LateralMovement
T1078 | Valid Accounts | InitialAccess Persistence PrivilegeEscalation DefenseEvasion
T1078.004 | Cloud Accounts | InitialAccess Persistence PrivilegeEscalation DefenseEvasion
T1087 | Account Discovery | Discovery
T1087.004 | Cloud Account | Discovery
T1098 | Account Manipulation | Persistence PrivilegeEscalation
T1098.001 | Additional Cloud Credentials | Persistence PrivilegeEscalation
T1098.003 | Additional Cloud Roles | Persistence PrivilegeEscalation
T1102 | Web Service | CommandAndControl
T1105 | Ingress Tool Transfer | CommandAndControl
T1119 | Automated Collection | Collection
T1136 | Create Account | Persistence
T1136.003 | Cloud Account | Persistence
T1195 | Supply Chain Compromise | InitialAccess
T1195.001 | Compromise Software Dependencies and Development Tools | InitialAccess
T1195.002 | Compromise Software Supply Chain | InitialAccess
T1199 | Trusted Relationship | InitialAccess
T1213 | Data from Information Repositories | Collection
T1213.003 | Code Repositories | Collection
T1484 | Domain or Tenant Policy Modification | PrivilegeEscalation DefenseEvasion
T1485 | Data Destruction | Impact
T1485.001 | Lifecycle-Triggered Deletion | Impact
T1486 | Data Encrypted for Impact | Impact
T1489 | Service Stop | Impact
T1490 | Inhibit System Recovery | Impact
T1496 | Resource Hijacking | Impact
T1496.001 | Compute Hijacking | Impact
T1496.004 | Cloud Service Hijacking | Impact
T1505 | Server Software Component | Persistence
T1526 | Cloud Service Discovery | Discovery
T1528 | Steal Application Access Token | CredentialAccess
T1530 | Data from Cloud Storage | Collection
T1531 | Account Access Removal | Impact
T1537 | Transfer Data to Cloud Account | Exfiltration
T1538 | Cloud Service Dashboard | Discovery
T1546 | Event Triggered Execution | Persistence PrivilegeEscalation
T1548 | Abuse Elevation Control Mechanism | PrivilegeEscalation DefenseEvasion
T1548.005 | Temporary Elevated Cloud Access | PrivilegeEscalation DefenseEvasion
T1550 | Use Alternate Authentication Material | DefenseEvasion LateralMovement
T1550.001 | Application Access Token | DefenseEvasion LateralMovement
T1552 | Unsecured Credentials | CredentialAccess
T1552.001 | Credentials In Files | CredentialAccess
T1552.004 | Private Keys | CredentialAccess
T1552.005 | Cloud Instance Metadata API | CredentialAccess
T1554 | Compromise Host Software Binary | Persistence
T1555 | Credentials from Password Stores | CredentialAccess
T1555.006 | Cloud Secrets Management Stores | CredentialAccess
T1556 | Modify Authentication Process | Persistence DefenseEvasion CredentialAccess
T1562 | Impair Defenses | DefenseEvasion
T1562.001 | Disable or Modify Tools | DefenseEvasion
T1562.007 | Disable or Modify Cloud Firewall | DefenseEvasion
T1562.008 | Disable or Modify Cloud Logs | DefenseEvasion
T1565 | Data Manipulation | Impact
T1565.001 | Stored Data Manipulation | Impact
T1567 | Exfiltration Over Web Service | Exfiltration
T1567.002 | Exfiltration to Cloud Storage | Exfiltration
T1567.004 | Exfiltration Over Webhook | Exfiltration
T1574 | Hijack Execution Flow | Persistence PrivilegeEscalation DefenseEvasion
T1578 | Modify Cloud Compute Infrastructure | DefenseEvasion
T1578.005 | Modify Cloud Compute Configurations | DefenseEvasion
T1580 | Cloud Infrastructure Discovery | Discovery
T1583 | Acquire Infrastructure | ResourceDevelopment
T1583.006 | Web Services | ResourceDevelopment
T1583.007 | Serverless | ResourceDevelopment
T1584 | Compromise Infrastructure | ResourceDevelopment
T1584.007 | Serverless | ResourceDevelopment
T1586.003 | Cloud Accounts | ResourceDevelopment
T1587 | Develop Capabilities | ResourceDevelopment
T1588 | Obtain Capabilities | ResourceDevelopment
T1608 | Stage Capabilities | ResourceDevelopment
T1619 | Cloud Storage Object Discovery | Discovery
T1648 | Serverless Execution | Execution
T1651 | Cloud Administration Command | Execution
T1654 | Log Enumeration | Discovery
"""


def _techniques() -> dict[str, Technique]:
    rows = (line.split(" | ") for line in _TABLE.strip().splitlines())
    return {number: Technique(number, name, tuple(tactics.split())) for number, name, tactics in rows}


TECHNIQUES: Final = MappingProxyType(_techniques())
"""By id."""


def find(technique: str) -> Technique | None:
    """The technique of that id; where only the parent of a sub-technique is listed, the parent; else None.

    A sub-technique belongs to no tactic that its parent does not belong to, so the parent's tactics may stand in.
    """
    return TECHNIQUES.get(technique) or TECHNIQUES.get(technique.partition(".")[0])


def misfits(techniques: Iterable[str], tactics: Iterable[str]) -> list[str]:
    """One line for each of *techniques* that belongs to none of *tactics*. An id that is not listed is not judged."""
    listed = set(tactics)
    problems = []
    for technique in techniques:
        found = find(technique)
        if found is not None and listed.isdisjoint(found.tactics):
            where = " or ".join(found.tactics)
            problems.append(f"{technique!r} ({found.name}) fits none of the listed tactics; list {where}, or remove it")
    return problems


def unlisted(techniques: Iterable[str]) -> list[str]:
    """Those of *techniques* that :func:`misfits` cannot judge, in their order."""
    return [technique for technique in techniques if find(technique) is None]
