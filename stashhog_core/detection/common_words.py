"""Everyday words that are also names, written for this product.

A name of such words alone needs a place that marks it as a name: before a dash, in a
list of people, in brackets or in a folder of its own. All words are folded.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


GIVEN_NAMES = _words(
    "amber angel april autumn candy carter chase chip christian colt crystal daisy "
    "dale "
    "dawn destiny diamond drew eden ella faith felicity fern flora forest frank gale "
    "gene ginger grace grant guy hazel heather holly honey hope hunter iris ivory ivy "
    "jack jade jasmine jasper jay jewel joy lily lucky luna mark max may melody mercy "
    "miles misty nova olive opal paige pat pearl penny phoenix piper poppy prudence "
    "ray "
    "raven red rich rob robin rocky rose ruby rusty sage sandy sapphire savannah "
    "scarlet "
    "serenity skip skye sterling sunny sky stone tiffany trinity venus victor victoria "
    "violet virginia wade ward will willow"
)
"""First names that are everyday words."""

EVERYDAY_WORDS = GIVEN_NAMES | _words(
    # times
    "afternoon august autumn birthday century christmas clock dawn day days december "
    "dusk easter evening fall february friday golden halloween holiday hour hours "
    "january july june march midnight minute moment monday month morning night nights "
    "november october saturday season second september spring summer sunday sunrise "
    "sunset thursday time today tomorrow tonight tuesday twilight wednesday week "
    "weekend "
    "winter year years yesterday young youth "
    # nature
    "air animal apple bay beach bear bird black bloom blossom blue breeze brook bush "
    "canyon cat cave cherry cliff cloud clouds coast cold coral creek cub dark deep "
    "deer "
    "desert dog dove dragon dream dreams dust eagle earth ember fawn feather field "
    "fire "
    "flame flower flowers fog fox frost garden glacier gold grape grass gray green "
    "grey "
    "grove harbor harbour haven heart hill hills horse ice island lagoon lake lamb "
    "land "
    "lark leaf leaves lemon light lightning lion lotus magnolia maple meadow mist moon "
    "moonlight mountain mountains nature night nightfall north oak ocean orange orchid "
    "palm panther path peach peak pine pink plum pond pool rain rainbow red reef ridge "
    "river rivers rock root roses sand sea shade shadow shell shine shore silver sky "
    "skies snow south star stars steel storm stream sun sunlight sunshine swan thunder "
    "tide tiger tree trees tulip valley vine water waterfall wave waves west white "
    "wild "
    "wilder wind winds wings wolf wood woods world yellow zephyr "
    # people and things
    "angels army art artist baby baker ballet band bar baron beauty bell belle best "
    "big "
    "bishop blade blanket bliss body book boss bow box boy boys bride bridge brother "
    "bunny "
    "butler cage camera candle captain car carpenter case cash castle chance charm "
    "chef "
    "child church cinema circus city class club coach coffee college color colour cook "
    "cooper copper corner cotton couple court cross crown cruise curtain dance dancer "
    "darling date daughter deal desire devil doctor doll door double dove dress drive "
    "drop duke emerald empire end envy eve exit eye eyes face fair fame family fantasy "
    "farmer fashion fate father favor fever film films final fine first fisher flash "
    "flight focus force fortune frame frames free freedom friend friends fun future "
    "game "
    "games gate gem gift girl girls glass glory goddess good grand gray great guard "
    "guide "
    "gypsy hair hall hand happy hard harmony heat heaven hero hidden high history home "
    "honest honor hot hotel house human hunt idol index india inner innocence iron "
    "jewels journey judge key kid king kingdom kiss kitchen kitten knight knot lace "
    "lady "
    "lane large last law legend lens liberty life line link little live lock long lost "
    "love lover lovers luck lust luxe magic maid main major man marina marine mark "
    "market "
    "mason master match mayor men mercury merit metal midnight milk mind miracle "
    "mirror "
    "miss model modern money moor mother motion movie museum muse music mystery naked "
    "naughty nectar new nice noble noir north novel nurse office old open paint "
    "paradise "
    "paris park part parties party passion peace penthouse people perfect photo "
    "picture "
    "pictures pilot pirate place plan play player plaza poem poet pop porter portrait "
    "potter power prayer preview price pride prime prince princess private promise "
    "pure "
    "purple queen quest quick quiet radio ranger real rebel reel reign rest rider "
    "riding "
    "right ring road rogue romance room rough round royal run runner safe saint sailor "
    "salt sample savage scene scenes school scout screen secret shepherd shiny shoot "
    "short "
    "show silk simple singer siren sister sisters slim small smart smile smith smoke "
    "smooth soft solo son song soul sound space spark special spice spirit sport "
    "square "
    "stage station steady stone street strip strong studio studios style sugar suite "
    "super "
    "surprise sweet swift sword table tailor tale talk tall tango taste tattoo tax "
    "taylor "
    "tea team tease temple thief thrill throne touch tour tower town trailer train "
    "travel "
    "treasure trick trip true trust truth turner twin twins two union universe vampire "
    "vantage velvet victory video view village vision visit voice wagon walk walker "
    "wall "
    "want war warm watch way weaver wedding wife win window wine wish wishes witch "
    "woman "
    "women wonder words work works writer "
    # joined words that are words themselves
    "anyone become butterfly cannot daylight firefly forever goodbye itself maybe "
    "moonshine nowhere overall rosebud seashore sometimes starlight sunflower "
    "therapist "
    "together without wonderland woodland"
)
"""Words of titles and sentences that people and studios also use as names."""

FUNCTION_WORDS = _words(
    "a about above after all along an and another any are around as at be before "
    "behind "
    "below beside between beyond but by can down during each every few first for from "
    "her his how i if in inside into is it its last like long many more my near never "
    "next no not of off on once one only onto or our out over past per some such that "
    "the their these this those three through till to toward two under until up upon "
    "us "
    "very was what when where which while with without your "
    "das dem den der des die ein eine einem einen einer im vom zum zur "
    "au aux dans de des du en la le les l pour sur un une "
    "al con del el en los las para por un una della delle dei gli il lo nel nella"
)
"""Articles, prepositions and the like: what follows them belongs to a sentence."""

OTHER_SENSE = _words(
    "art arts bar black blue brown classic club cream cup doll double dress extra fall "
    "fantasy free gold green group hair hard heels ice kiss lead live long love magic "
    "match model models muse natural orange oral park part pink play pop rap red ride "
    "riding ring rock romantic rough short shot show silver soft solo special spring "
    "star straight strip studio style sweet swing tall tease toy toys train trip walk "
    "watch water white wild wood yellow young"
)
"""Words for tags that mean something else in most titles: `Art of`, `Solo Trip`."""

WORDS_BESIDE_NAMES = _words(
    "actor actress and as by camera cast director directed feat featuring model models "
    "performer performers presented presents producer production productions star "
    "starring stars studio studios vs with"
)
"""Words on title cards that a misreading may join to a name."""

FILLER_WORDS = _words(
    "all and are big day for full her him his hot movie new night not out part scene "
    "sex she the two video videos vol with you"
)
"""Words that some libraries use as tags but that occur in any title."""

SINGLE_NAMES = _words(
    "amber angel april august autumn blue candy cherry chance crystal daisy destiny "
    "diamond dawn eden faith final fox ginger grace heaven holiday home honey hope "
    "hunter india intro ivory jade jasmine jewel joy june king lady love lucky luna "
    "may melody mercy mercury misty model music nature nova ocean olive paris part "
    "pearl phoenix preview prince princess queen rain raven rebel red river rose ruby "
    "sample sapphire savage scarlet scene season serenity sky snow spring star storm "
    "sugar summer sunny sunshine trailer trinity venus victory video violet virgin "
    "virginia willow winter"
)
"""First names that are hardly ever a last name."""
