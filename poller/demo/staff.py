"""Who works at the company and with what: offices, machines, apps, groups, people.

Addresses are those reserved for documentation (RFC 5737, RFC 3849), and so are AS numbers (RFC 5398) and domains
(RFC 2606). Agents are those of real browsers and of Okta Verify.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from poller.demo.administration import Group
from poller.demo.okta_events import App, Client, Ids, Network, Person, Phone, Software

DOMAIN = "harbourline.example"


def _office(ip: str, city: str, state: str, country: str, code: str, lat: float, lon: float, asn: int) -> Network:
    return Network(ip, city, state, country, code, lat, lon, asn, "Harbourline", DOMAIN, zone="Offices")


OFFICES = (  # how many hours local time is ahead of UTC, and the office's network
    (-8, _office("192.0.2.10", "San Francisco", "California", "United States", "94105", 37.7898, -122.3942, 64496)),
    (-5, _office("192.0.2.42", "New York", "New York", "United States", "10013", 40.7201, -74.0052, 64496)),
    (0, _office("192.0.2.74", "London", "England", "United Kingdom", "EC2A", 51.5232, -0.0830, 64497)),
    (1, _office("192.0.2.106", "Berlin", "Land Berlin", "Germany", "10178", 52.5210, 13.4130, 64497)),
    (8, _office("192.0.2.138", "Singapore", "Central Singapore", "Singapore", "048583", 1.2838, 103.8510, 64498)),
    (10, _office("192.0.2.170", "Sydney", "New South Wales", "Australia", "2000", -33.8650, 151.2094, 64498)),
)
PROVIDERS = ((64499, "Example Fibre"), (64500, "Example Cable"), (64501, "Example Mobile"), (64502, "Example Telecom"))

_WINDOWS, _MAC = "Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7"
_CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
_SAFARI = "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15"
_FIREFOX = "rv:145.0) Gecko/20100101 Firefox/145.0"
COMPUTERS = (
    Software(f"Mozilla/5.0 ({_WINDOWS}) {_CHROME}", "Windows 11", "CHROME", "Computer"),
    Software(f"Mozilla/5.0 ({_WINDOWS}) {_CHROME} Edg/142.0.0.0", "Windows 11", "EDGE", "Computer"),
    Software(f"Mozilla/5.0 ({_WINDOWS}; {_FIREFOX}", "Windows 10", "FIREFOX", "Computer"),
    Software(f"Mozilla/5.0 ({_MAC}) {_CHROME}", "Mac OS X", "CHROME", "Computer"),
    Software(f"Mozilla/5.0 ({_MAC}) {_SAFARI}", "Mac OS X", "SAFARI", "Computer"),
    Software(f"Mozilla/5.0 (X11; Linux x86_64; {_FIREFOX}", "Linux", "FIREFOX", "Computer"),
)
_IOS, _ANDROID = "B7F62B65BN.com.okta.mobile", "D2DD7D3915.com.okta.android.auth"
PHONES = (  # model, platform, version of the system, and how Okta Verify names itself there
    ("iPhone17,1", "IOS", "18.6.2", f"{_IOS}/9.48.0 DeviceSDK/2.9.0 iOS/18.6.2 Apple/iPhone17,1"),
    ("iPhone15,4", "IOS", "18.5", f"{_IOS}/9.46.1 DeviceSDK/2.9.0 iOS/18.5 Apple/iPhone15,4"),
    ("Pixel 9", "ANDROID", "16", f"{_ANDROID}/8.14.1 DeviceSDK/2.3.0 Android/16 Google/Pixel 9"),
    ("SM-S938B", "ANDROID", "15", f"{_ANDROID}/8.12.0 DeviceSDK/2.3.0 Android/15 samsung/SM-S938B"),
)
METHODS = {  # by which second factor people sign in, and how many of a hundred
    "OKTA_VERIFY_PUSH": 60,
    "SIGNED_NONCE": 22,
    "FIDO_WEBAUTHN": 8,
    "OKTA_SOFT_TOKEN": 6,
    "SMS_FACTOR": 4,
}

APPS = tuple(
    App(f"0oa1f2k1{letter}Kd82Mnx5d7", name, mode)
    for letter, name, mode in (
        ("a", "Mail", "SAML_2_0"),
        ("b", "Calendar", "SAML_2_0"),
        ("c", "Chat", "OPENID_CONNECT"),
        ("d", "Wiki", "SAML_2_0"),
        ("e", "Source Code", "SAML_2_0"),
        ("f", "Tickets", "OPENID_CONNECT"),
        ("g", "Customer Records", "SAML_2_0"),
        ("h", "Payroll", "SAML_2_0"),
        ("i", "Expenses", "SECURE_PASSWORD_STORE"),
        ("j", "Travel", "BROWSER_PLUGIN"),
        ("k", "Video Calls", "OPENID_CONNECT"),
        ("l", "Cloud Console", "SAML_2_0"),
        ("m", "Data Warehouse", "OPENID_CONNECT"),
        ("n", "VPN", "SAML_2_0"),
    )
)
GROUPS = tuple(
    Group(f"00g1f2k2{letter}Pw47Lzc5d7", name)
    for letter, name in zip(
        "abcdefgh",
        ("Everyone", "Engineering", "Finance", "Sales", "Support", "Contractors", "VPN users", "Payroll readers"),
        strict=True,
    )
)

_FIRST_NAMES = """
    Ada Aisha Amara Ana Anders Arjun Asha Bao Beatriz Bruno Carla Chen Chloe Daniel Davide Deepa Diego Elif Emeka Emma
    Farah Felix Fatou Gabriel Grace Hana Hassan Helga Hugo Ines Isaac Ivan Jana Jin João Jonas Kaito Karim Kateryna Kofi
    Lars Leila Lena Liam Lucía Maeve Magnus Malik Marta Mei Mina Nadia Ngozi Niamh Noor Olga Omar Paolo Priya Quentin
    Rafael Rania Rosa Ruth Samir Sanna Sofia Tariq Tomás Uma Viktor Wanjiru Xin Yara Yusuf Zoë
"""
_LAST_NAMES = """
    Abara Acosta Adeyemi Ahmadi Andersen Aoki Bakker Banerjee Barros Bauer Becker Bianchi Byrne Cardoso Castillo Chan
    Costa Cruz Dahl Das Demir Diallo Dubois Eriksen Farouk Fernandes Fischer Fraser Garcia Gruber Gupta Haddad Hansen
    Hoang Ibrahim Ito Iyer Jansen Kaya Keller Khan Kim Kowalski Larsen Lim Lopes Mbeki Mendes Meyer Moreau Mwangi
    Nakamura Nguyen Novak Nowak Obi Okafor Olsen Ortiz Park Patel Peeters Petrov Quinn Rahman Reyes Rossi Saito Santos
    Schmidt Silva Singh Sørensen Tanaka Torres Tran Usman Vargas Weber Wójcik Yamada Yilmaz Zhang
"""
_PLAIN = str.maketrans("ãáéíóøöüçëñ", "aaeioooucen")


@dataclass(frozen=True)
class Employee:
    """A person with a desk: where and when they work, from what, and by which second factor they sign in."""

    person: Person
    office: int
    home: Network
    computer: Software
    method: str
    is_admin: bool

    @property
    def utc_offset(self) -> int:
        """Hours."""
        return OFFICES[self.office][0]

    @property
    def at_office(self) -> Client:
        return Client(OFFICES[self.office][1], self.computer)

    @property
    def at_home(self) -> Client:
        return Client(self.home, self.computer)

    @property
    def phone(self) -> Phone:
        return self.person.phones[0]


def hire(chance: random.Random, number: int) -> Employee:
    """The company's employee of this number, beginning with 0; the first four administer the org."""
    ids = Ids(chance)
    first, last = chance.choice(_FIRST_NAMES.split()), chance.choice(_LAST_NAMES.split())
    office = chance.choices(range(len(OFFICES)), weights=(3, 5, 6, 4, 2, 2))[0]
    city = OFFICES[office][1]
    as_number, as_org = chance.choice(PROVIDERS)
    v6 = f"2001:db8:{office + 1:x}:{number:x}::{chance.randrange(1, 0xFFFF):x}"
    home = replace(
        city,
        ip=v6 if number % 3 else f"203.0.113.{number % 254 + 1}",
        latitude=round(city.latitude + chance.uniform(-0.2, 0.2), 4),
        longitude=round(city.longitude + chance.uniform(-0.2, 0.2), 4),
        as_number=as_number,
        as_org=as_org,
        domain="example.net",
        zone="",
    )
    phones = []
    for model, platform, version, agent in chance.sample(PHONES, 2 if chance.random() < 0.15 else 1):
        client = Client(home, Software(agent, "iOS" if platform == "IOS" else "Android", "UNKNOWN", "Mobile"))
        phones.append(Phone(ids.okta("guo"), ids.okta("pfd"), model, platform, version, client))
    login = f"{first}.{last}".lower().translate(_PLAIN) + (str(number) if number >= 100 else "")
    person = Person(ids.okta("00u"), f"{login}@{DOMAIN}", f"{first} {last}", ids.okta("lae"), tuple(phones))
    method = chance.choices(list(METHODS), weights=list(METHODS.values()))[0]
    return Employee(person, office, home, chance.choice(COMPUTERS), method, is_admin=number < 4)
