"""New records with the documented fields (API.md#fields, #side-loaded-records); currencies."""

from typing import Any, NamedTuple

Record = dict[str, Any]
"""One object as the API shows it. Values are whatever JSON can hold, wrong types included."""

FIRST_ACCOUNT_ID = 4_711  # that of seed 1
USER_ID = 1_001


class Currency(NamedTuple):
    """A currency: its code, symbol, name and how many minor units make one unit."""

    code: str
    symbol: str
    name: str
    units: int


CURRENCIES = (
    Currency("USD", "$", "United States Dollar", 100),
    Currency("EUR", "€", "Euro", 100),
    Currency("JPY", "¥", "Japanese Yen", 1),
    Currency("KWD", "د.ك", "Kuwaiti Dinar", 1000),
)
"""Those of the projects."""

OTHER_CURRENCIES = (
    ("AED", 100), ("AUD", 100), ("BHD", 1000), ("BRL", 100), ("CAD", 100), ("CHF", 100), ("CLP", 1),
    ("CNY", 100), ("CZK", 100), ("DKK", 100), ("GBP", 100), ("HKD", 100), ("INR", 100), ("KRW", 1),
    ("MGA", 5), ("MXN", 100), ("NOK", 100), ("NZD", 100), ("PLN", 100), ("SEK", 100), ("SGD", 100),
)  # fmt: skip
"""The rest of /currencies with their minor units: enough that a default page of 20 lacks USD."""

BY_CODE = {currency.code: currency for currency in CURRENCIES}


def currency_records() -> dict[str, Record]:
    """Build the records of /currencies, by id and in the order of their codes."""
    others = (Currency(code, code, code, units) for code, units in OTHER_CURRENCIES)
    return {
        str(number): {
            "id": str(number),
            "iso_code": currency.code,
            "name": currency.name,
            "symbol": currency.symbol,
            "subunit_to_unit": currency.units,
        }
        for number, currency in enumerate(sorted([*CURRENCIES, *others]), 1)
    }


def account_id(seed: int) -> int:
    """Return the id of the account with this seed: each has its own."""
    return FIRST_ACCOUNT_ID + seed - 1


def user_record(account: int) -> Record:
    """Build the record of the token's user; `account_administrator` gives access to the feed."""
    return {
        "id": str(USER_ID),
        "full_name": "Robin Sandbox",
        "email_address": "robin@sandbox.example",
        "headline": "Integrations",
        "account_id": account,
        "account_administrator": True,
    }


def milestone_record(id_: str, workspace: Record, at: str) -> Record:
    """Build a blank milestone record of 100 units, with a fixed date that is not set."""
    return {
        "id": id_,
        "title": "Milestone",
        "amount_in_cents": 100 * BY_CODE[workspace["currency"]].units,
        "currency": workspace["currency"],
        "billing_type": "fixed_date",
        "date_to_invoice": None,
        "workspace_id": workspace["id"],
        "story_id": None,
        "invoice_id": None,
        "created_at": at,
        "updated_at": at,
    }


STATUS = (
    {"color": "green", "key": 310, "message": "In Progress"},
    {"color": "yellow", "key": 320, "message": "On Hold"},
    {"color": "grey", "key": 130, "message": "Closed"},
    {"color": "red", "key": 330, "message": "At Risk"},
)


def workspace_record(id_: str, title: str, currency: Currency, at: str, account: int) -> Record:
    """Build a blank record of a project that starts on this day."""
    return {
        "id": id_,
        "title": title,
        "account_id": account,
        "archived": False,
        "access_level": "invitation",
        "budgeted": True,
        "currency": currency.code,
        "currency_symbol": currency.symbol,
        "currency_base_unit": currency.units,
        "description": "",
        "price": f"{currency.symbol}0",
        "price_in_cents": 0,
        "budget_used": f"{currency.symbol}0",
        "budget_used_in_cents": 0,
        "budget_remaining": f"{currency.symbol}0",
        "percentage_complete": 0,
        "over_budget": False,
        "start_date": at[:10],
        "due_date": None,
        "status": STATUS[0],
        "workspace_invoice_preference_id": int(id_) + 5000,
        "rate_card_id": 77,
        "default_rate": None,
        "exclude_archived_stories_percent_complete": False,
        "tasks_default_non_billable": False,
        "created_at": at,
        "updated_at": at,
    }


PROVIDER_LEADS = ("Ada Okafor", "Bo Lindqvist", "Chiara Rossi", "Dmitri Volkov")
"""Users who lead projects for the firm, with ids from `FIRST_LEAD_ID`."""
CLIENT_LEADS = ("Yui Tanaka", "Zoë Brandt", None)
"""People who lead projects for the client; not every project has one."""
STAGES = ("Planning", "Delivery", "Closing")
FIRST_LEAD_ID = 2_001


def lead_records() -> dict[str, Record]:
    """Build the records of the users who lead projects, by id."""
    return {
        str(id_): {"id": str(id_), "full_name": name, "headline": "Project lead"}
        for id_, name in enumerate(PROVIDER_LEADS, FIRST_LEAD_ID)
    }


def optional_record(number: int, group_id: str | None) -> Record:
    """Build what a list of projects shows of one only on request (API.md#workspace).

    Args:
        number: The number of the project, from 0.
        group_id: The workspace group of its client.
    """
    lead = number % len(PROVIDER_LEADS)
    return {
        "primary_workspace_group_id": group_id,
        "primary_maven_id": str(FIRST_LEAD_ID + lead),
        "provider_lead_name": PROVIDER_LEADS[lead],
        "client_lead_name": CLIENT_LEADS[number % len(CLIENT_LEADS)],
        "stage": STAGES[number % len(STAGES)],
    }


def story_record(id_: str, workspace_id: str, title: str, at: str) -> Record:
    """Build a blank record of a task that has not been started."""
    return {
        "id": id_,
        "title": title,
        "description": None,
        "story_type": "task",
        "state": "not started",
        "status": "not started",
        "archived": False,
        "deleted_at": None,
        "start_date": None,
        "due_date": None,
        "percentage_complete": 0,
        "fixed_fee": True,
        "billable": True,
        "budget_estimate_in_cents": 0,
        "budget_used_in_cents": 0,
        "invoiced_balance_in_cents": 0,
        "uninvoiced_balance_in_cents": 0,
        "weight": None,
        "position": 1,
        "priority": "normal",  # typed integer in the contract, but the values are words
        "workspace_id": workspace_id,
        "created_at": at,
        "updated_at": at,
    }


def invoice_record(id_: str, number: int, currency: Currency, at: str) -> Record:
    """Build a blank record of an invoice without a balance, sent and not paid."""
    return {
        "id": id_,
        "status": "new",
        "draft": False,
        "title": f"Invoice {number}",
        "user_invoice_number": number,
        "user_invoice_title": f"INV-{number}",
        "balance_in_cents": 0,
        "currency": currency.code,
        "currency_symbol": currency.symbol,
        "currency_base_unit": currency.units,
        "invoice_date": at[:10],
        "due_date": None,
        "payment_schedule": 30,
        "tax_rate": 0.0,
        "purchase_order": None,
        "project_code": None,
        "message": None,
        "created_at": at,
        "updated_at": at,
    }


def reference_record(id_: str, milestone_id: str, at: str) -> Record:
    """Build a blank record of a milestone's external reference; its `subject_id` is a number."""
    return {
        "id": id_,
        "service_name": "",
        "service_model": "",
        "service_model_ref": "",
        "status": "successful",
        "external_link": None,
        "external_message": None,
        "external_status": None,
        "locked": False,
        "last_synced_at": at,
        "subject_id": int(milestone_id),
        "subject_type": "BillingMilestone",
        "created_at": at,
        "updated_at": at,
    }
