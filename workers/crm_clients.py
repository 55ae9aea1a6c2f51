"""Which CRM outside there is, by the policy file and the settings, and a client for it."""

from typing import TYPE_CHECKING, Final

from models.crm import CrmSettings, OutsideCrm

if TYPE_CHECKING:
    from workers.settings import Settings

KEYS: Final = {"attio": "ATTIO_API_KEY", "hubspot": "HUBSPOT_ACCESS_TOKEN"}


def lacks_a_key(settings: "Settings", crm: CrmSettings) -> str:
    """What is wrong with the settings of the CRM that the policy file names, as a sentence; empty if nothing is."""
    if not crm.provider or _key(settings, crm):
        return ""
    name = KEYS[crm.provider]
    return f"{name} is not set, but the policy file names {crm.provider} as the CRM: make a key there, put it into .env"


def crm_client(settings: "Settings", crm: CrmSettings) -> OutsideCrm | None:
    """A client, which its user closes; None where our own tables are all there is.

    Raises:
        RuntimeError: the key is missing; the message says which.
    """
    problem = lacks_a_key(settings, crm)
    if problem:
        raise RuntimeError(problem)
    if crm.provider == "attio":
        from activities import attio

        return attio.Attio(_key(settings, crm), crm, settings.attio_api_base or attio.BASE)
    if crm.provider == "hubspot":
        from activities import hubspot

        return hubspot.HubSpot(_key(settings, crm), crm, settings.hubspot_api_base or hubspot.BASE)
    return None


def _key(settings: "Settings", crm: CrmSettings) -> str:
    key = settings.attio_api_key if crm.provider == "attio" else settings.hubspot_access_token
    return key.get_secret_value().strip()
