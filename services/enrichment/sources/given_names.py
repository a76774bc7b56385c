"""Given names and the short forms by which business people go; a table."""

from __future__ import annotations

import re
from collections.abc import Mapping

# One entry a name: the full form, then its short forms.
_TABLE = """
bethany beth | catharine cathy kate | catherine cathie | cheryl sherry | danielle dani
elisabeth liz beth lisa | elizabeth lisa | greggory gregg greg | jeffery jeff | johnathon jon
kathrine kathy kate | leonardo leo | mathew matt | nicolas nick | rebekah becky | stephan steve
teresa teri | tobin toby | victoria vicki | virginia ginni | zackary zack
abigail abby gail | abraham abe | adelaide addie | albert al bert | alan al
alexander alex al sandy | alexandra alex sandy lexi | alfred al fred | alison ali | allen al
alvin al | amanda mandy | andrew andy drew | angela angie | anthony tony | antoinette toni
archibald archie | arnold arnie | arthur art artie | augustus gus | barbara barb babs barbie
barnabas barney | bartholomew bart | beatrice bea | benjamin ben benny | bernard bernie
bernadette bernie | beverly bev | bradford brad | bradley brad | calvin cal | cameron cam
carolyn carol carrie | caroline carol carrie caro | cassandra cassie cass
catherine cathy kate cate cat | charles charlie chuck chas | charlotte charlie lottie
chester chet | christina chris tina christy | christine chris chrissy tina
christopher chris kit topher | clarence clare | clayton clay | clifford cliff | clifton cliff
clinton clint | constance connie | cornelius neil | curtis curt | cynthia cindy | daniel dan danny
david dave davey | deborah deb debbie debby | debora deb debbie | debra deb debbie | delores dee
dennis denny | desmond des | dominic dom nick | dominick dom nick | donald don donnie
dorothy dot dottie dolly | douglas doug | edgar ed | edith edie | edmund ed ned | edmond ed ned
eduardo ed eddie | edward ed eddie ted ned | edwin ed eddie | eleanor ellie nell
elizabeth beth liz betty betsy lizzie eliza libby ellie bess | elliott eli | emily em emmy
ernest ernie | eugene gene | evelyn evie | ezekiel zeke | florence flo
frances fran francie frankie | francis frank fran | francisco frank paco | franklin frank
frederick fred freddie rick | frederic fred | gabriel gabe | gabrielle gabby | geoffrey geoff jeff
george georgie | gerald jerry gerry | gerard jerry gerry | gilbert gil bert | gordon gordy
gregory greg | gretchen greta | gwendolyn gwen | harold hal harry | harriet hattie
harrison harry | harvey harv | helen nell | henry hank harry hal | herbert herb bert | herman herm
hillary hil | howard howie | hubert hugh bert | ignatius iggy | irving irv | isaac ike
isabel bel izzy | isabella bella izzy | isadore izzy | jack jackie | jacob jake
jacqueline jackie | james jim jimmy jamie jem | janet jan | janice jan | jason jay | jeffrey jeff
jennifer jen jenny jenn | jeremiah jerry jem | jeremy jerry | jerome jerry | jessica jess jessie
joan joanie | joanne jo | johnathan john jon | john johnny jack jon | jonathan jon jonny
joseph joe joey | josephine jo josie | joshua josh | judith judy judi | julia julie | julian jules
justin jus | karen kari | katherine kate kathy katie kay kat kit | kathryn kate kathy katie kay
kathleen kathy kate katie kay | kenneth ken kenny | kimberly kim kimmie | kristen kris
kristin kris | kristina kris tina | kristine kris | laura laurie | laurence larry laurie
lawrence larry laurie | leland lee | leonard len lenny leo | leopold leo | leroy roy | leslie les
lester les | lillian lil lily | linda lindy | lorraine lori | louis lou louie | louise lou
lucille lucy | luther lou | madeline maddie | malcolm mal | marcus marc
margaret maggie meg peggy peg marge margie greta rita | margery marge | maria mia
marjorie marge margie | marshall marsh | martha marty | martin marty | matthew matt matty
maureen mo | maurice maury moe | maxwell max | maximilian max | melanie mel | melissa missy mel
melvin mel | meredith merry | michael mike mick mickey mikey | michele shelly | michelle shelly
mildred millie | milton milt | miriam mim | mitchell mitch | mohammed mo | mohamed mo | monique mo
montgomery monty | morris morrie moe | mortimer mort | moses moe | nancy nan | natalie nat
nathan nate nat | nathaniel nate nat | nicholas nick nicky nico | nicole nicky nikki
norbert bert norb | norman norm | olivia liv | oliver ollie | oscar ozzie | pamela pam
patricia pat patty trish tricia patsy | patrick pat paddy | pauline polly | penelope penny
percival percy | peter pete | philip phil pip | phillip phil | priscilla cilla | rachel rae
ralph ralphie | randall randy | randolph randy | raymond ray | rebecca becky becca
reginald reggie reg | reuben rube | rhonda ron | ricardo rick
richard rich rick dick richie ricky | robert bob bobby rob robbie bert | roberta bobbie
roderick rod | rodney rod | rodolfo rudy | roger rog | roland rollie | ronald ron ronnie
rosemary rose rosie | rudolph rudy | russell russ | samantha sam sammie | samuel sam sammy
sandra sandy | santiago santi | sarah sally sadie | sebastian seb bas | seymour sy | sharon shari
sheldon shel | sherwood woody | shirley shirl | sidney sid | solomon sol | stanley stan
stephanie steph | stephen steve | steven steve | stewart stew stu | stuart stu
susan sue susie suzy | susannah sue | suzanne sue | sylvester sly | sylvia syl | tabitha tabby
teresa terry tess | terence terry | terrence terry | thaddeus tad thad | theodore ted teddy theo
theresa terry tess | thomas tom tommy | timothy tim timmy | tobias toby | valerie val
vanessa nessa | vernon vern | veronica ronnie | victor vic | victoria vicky vickie tori
vincent vince vinny vin | violet vi | virginia ginny | vivian viv | wallace wally
walter walt wally | wesley wes | wilbur will | wilfred will fred | willard will bill
william bill billy will willy liam | winifred winnie | winston win | woodrow woody | yvonne vonnie
zachary zach zack
"""
# Given names that are common as last names too: "Kim Lee" may be either way round.
_OF_BOTH_KINDS = """
alexander allen anthony arthur barry benjamin bruce carroll charles chase clark clay cole craig
curtis daniel david davis dean dennis dixon douglas drew duncan edwards elliott ellis frank francis
franklin gary george gilbert glen glenn gordon graham grant harry harvey henry howard hugh jack
jackson james jay jordan joseph keith kelly kennedy kim lawrence lee leonard lewis logan louis lynn
marshall martin mason max michael miles mitchell morgan morris nelson nicholas noel oliver owen
parker patrick paul peter philip phillips pierce quinn ralph randall ray raymond reed reese richard
riley robert robin roger rose ross roy russell ryan samuel scott shannon simon spencer stanley
stephen stewart taylor terry thomas todd travis tyler victor vincent walter warren wayne wesley
wilson chen chong fang feng hong hua jian jing jun li lin liu ming ping qian wang wei wen xiao xin
yan yang yi ying yong yu yuan zhang zhao
"""


def _full_forms() -> dict[str, set[str]]:
    forms: dict[str, set[str]] = {}
    for entry in re.split(r"[|\n]", _TABLE):
        for short in entry.split()[1:]:
            forms.setdefault(short, set()).add(entry.split()[0])
    return forms


FULL_FORMS: Mapping[str, set[str]] = _full_forms()
"""By short form, the names that it may stand for."""
GIVEN_NAMES = frozenset(re.findall(r"\w+", _TABLE)) | frozenset(_OF_BOTH_KINDS.split())
"""Names that are mostly given ones, or may be."""


def is_short_form(one: str, other: str) -> bool:
    """Tell whether one name is short for the other, or both are for the same."""
    mine, theirs = FULL_FORMS.get(one, set()), FULL_FORMS.get(other, set())
    return one in theirs or other in mine or bool(mine & theirs)
